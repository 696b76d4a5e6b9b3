from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conversion.devices import device, ingredients
from tests.samples import noise, write_audio
from umc_cli.audio.manifest import Clip, find_recordings
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.checkpoint import read_metadata
from umc_cli.conversion import transport_files
from umc_cli.conversion.chosen.transport_start import transport_start
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.kept_knowledge import NOT_KEPT, KeptKnowledge
from umc_cli.conversion.level_quantiles import LevelQuantiles
from umc_cli.conversion.level_tables import load_level_tables
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.conversion.transport import Transport, sha256_of
from umc_cli.conversion.transport_files import TransportStart, file_name, load_transports, read_transport
from umc_cli.errors import SettingsError

RATE_HZ = 22_050
N_RECORDINGS = 30


def swelling(seed: int, exponent: float) -> np.ndarray:
    """One second of noise that swells at random; a device bends how much it swells."""
    random = np.random.default_rng(seed)
    swell = np.interp(np.arange(RATE_HZ), np.linspace(0, RATE_HZ, 4), random.uniform(-30, 0, 4))
    slow = exponent * swell + (1 - exponent) * swell.mean()  # louder and softer within a recording, not between them
    return (noise(1.0, seed) * 10 ** (slow / 20)).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of `a`, of `b`, which swells less within each, and of `twin`, which is `a` with other sounds."""
    root = tmp_path_factory.mktemp("transports") / "data"
    for number in range(N_RECORDINGS):
        for name, exponent, seed in (("a", 1.0, number), ("b", 0.2, number), ("twin", 1.0, 100 + number)):
            write_audio(root / name / "x" / f"{number}.wav", swelling(seed, exponent))
    return root


def start_of(levels: dict[str, np.ndarray]) -> TransportStart:
    """Return what `transport` moves between the first device and the others."""
    source, *targets = levels
    return transport_start("transport", Ingredients(source, tuple(targets), {}, "cpu", level_quantiles=levels))


def load(
    root: Path | None, clips: tuple[Clip, ...], targets: list[str], warnings: list[str] | None = None, keep: bool = True
) -> dict[str, Transport]:
    """Return the maps from `a` to `targets`."""
    cut = SegmentSettings()
    tables = load_level_tables(NOT_KEPT, ["a", *targets], clips, cut, [])
    levels = {name: table.levels_db for name, table in tables.items()}
    start = start_of(levels)
    return load_transports(KeptKnowledge(root, keep), start, clips, cut, [] if warnings is None else warnings)


def test_what_is_kept_is_what_was_learned(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, warnings = find_recordings(data).clips, list[str]()
    learned = load(tmp_path, clips, ["b", "twin"], warnings)
    assert len(learned["b"].components)
    assert not len(learned["twin"].components)
    assert [warning.partition(" is what `quantile` is for ")[2][:4] for warning in warnings] == ["twin"]
    written = {name: (tmp_path / file_name("transport", name)).read_bytes() for name in learned}
    monkeypatch.setattr("umc_cli.conversion.transport_files.fit_transport", None)  # nothing is learned again
    again = load(tmp_path, clips, ["b", "twin"])
    assert {name: sha256_of(one) for name, one in again.items()} == {
        name: sha256_of(one) for name, one in learned.items()
    }
    assert sha256_of(read_transport(tmp_path, "transport", "a", "b")) == sha256_of(learned["b"])
    assert {name: (tmp_path / file_name("transport", name)).read_bytes() for name in learned} == written


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_file_is_made_again(data: Path, tmp_path: Path, damage: bytes | None) -> None:
    clips = find_recordings(data).clips
    learned = load(tmp_path, clips, ["b"])
    path = tmp_path / file_name("transport", "b")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    with pytest.raises(SettingsError, match="missing, damaged or not from a to b"):
        read_transport(tmp_path, "transport", "a", "b")
    assert sha256_of(load(tmp_path, clips, ["b"])["b"]) == sha256_of(learned["b"])
    assert path.read_bytes() == content


def test_other_recordings_make_another_map(data: Path, tmp_path: Path) -> None:
    clips = find_recordings(data).clips
    all_of_them = load(tmp_path, clips, ["b"])["b"]
    fewer = tuple(clip for clip in clips if clip.path.stem != "0")
    assert sha256_of(load(tmp_path, fewer, ["b"])["b"]) != sha256_of(all_of_them)


def test_zeros_at_the_ends_of_recordings_of_one_device_change_nothing(data: Path, tmp_path: Path) -> None:
    """A file padded with zeros, as editors and some phones write it, is what it was before."""
    padded = tmp_path / "data"
    for clip in find_recordings(data).clips:
        samples, _ = soundfile.read(clip.path, dtype="float32")
        number = int(clip.path.stem)
        before, after = (7_000, 50_000) if clip.device == "b" and number % 2 else (0, 0)
        write_audio(padded / clip.path.relative_to(data), np.pad(samples, (before, after)))
    for target in ("b", "twin"):
        ((clean, clean_table), (found, table)) = (learned(root, target) for root in (data, padded))
        assert table.n_segments == clean_table.n_segments
        np.testing.assert_allclose(table.levels_db, clean_table.levels_db, atol=0.01)
        assert found.strength == pytest.approx(clean.strength, abs=0.001)
        probe = np.random.default_rng(0).uniform(-70, -20, (4, 80, 80)).astype(np.float32)
        np.testing.assert_allclose(found(probe), clean(probe), atol=0.05)


def learned(data: Path, target: str) -> tuple[Transport, LevelQuantiles]:
    """Return the map from `a` and the level table of its target."""
    clips = find_recordings(data).clips
    tables = load_level_tables(NOT_KEPT, ["a", target], clips, SegmentSettings(), [])
    return load(None, clips, [target])[target], tables[target]


def test_few_recordings_are_the_start(data: Path) -> None:
    """Nine long recordings have segments enough for `quantile`."""
    few = tuple(clip for clip in find_recordings(data).clips if int(clip.path.stem) < 9)
    doubled = (*few, *(Clip(clip.file, clip.device, "y", clip.split, clip.recording) for clip in few))
    warnings = list[str]()
    assert not len(load(None, doubled, ["b"], warnings)["b"].components)
    assert "fewer than 10" in warnings[0]


def test_nothing_is_kept_where_nothing_may_be(data: Path, tmp_path: Path) -> None:
    load(tmp_path, find_recordings(data).clips, ["b"], keep=False)
    assert not any(tmp_path.iterdir())


def test_a_run_that_grows_keeps_its_map(data: Path, tmp_path: Path) -> None:
    """An update goes on with what the run has; another run beside it must not replace that."""
    clips = find_recordings(data).clips
    before = load(tmp_path, clips, ["b"])["b"]
    written = (tmp_path / file_name("transport", "b")).read_bytes()
    fewer = tuple(clip for clip in clips if clip.path.stem != "0")
    cut = SegmentSettings()
    levels = {name: one.levels_db for name, one in load_level_tables(NOT_KEPT, ["a", "b"], fewer, cut, []).items()}
    of_run = KeptKnowledge(tmp_path, of_run=["b"])
    kept = load_transports(replace(of_run, is_updated=True), start_of(levels), fewer, cut, [])["b"]
    assert sha256_of(kept) == sha256_of(before)
    refused = load_transports(of_run, start_of(levels), fewer, cut, [])["b"]
    assert sha256_of(refused) != sha256_of(before)
    assert (tmp_path / file_name("transport", "b")).read_bytes() == written


def test_a_map_of_an_earlier_method_is_learned_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the result is the same, the map of a run is one of this version from then on."""
    clips = find_recordings(data).clips
    path = tmp_path / file_name("transport", "b")
    monkeypatch.setattr(transport_files, "_METHOD", 1)
    before = load(tmp_path, clips, ["b"])["b"]
    assert read_metadata(path)["made_from"][0] == 1
    monkeypatch.undo()
    levels = {
        name: one.levels_db
        for name, one in load_level_tables(NOT_KEPT, ["a", "b"], clips, SegmentSettings(), []).items()
    }
    told: list[str] = []
    for _ in range(2):
        of_run = KeptKnowledge(tmp_path, of_run=["b"])
        again = load_transports(
            of_run, start_of(levels), clips, SegmentSettings(), [], lambda *what: told.append(what[0])
        )
        assert sha256_of(again["b"]) == sha256_of(before)
        assert read_metadata(path)["made_from"][0] == 2
    assert told == ["b"], "the second time it is read"


def test_maps_of_one_converter_do_not_serve_the_other(data: Path, tmp_path: Path) -> None:
    load(tmp_path, find_recordings(data).clips, ["b"])
    (tmp_path / file_name("transport", "b")).rename(tmp_path / file_name("refiner_transport", "b"))
    with pytest.raises(SettingsError, match="missing, damaged or not from a to b"):
        read_transport(tmp_path, "refiner_transport", "a", "b")


def test_a_map_after_the_refiner_rests_on_records_and_weights(tmp_path: Path) -> None:
    adapted = tmp_path / "refiner.safetensors"
    adapted.write_bytes(b"other weights")
    known = ingredients(device("a", 0.0, -80.0), device("b", 0.0, -80.0))
    known = replace(known, refiner=SHIPPED_REFINER)
    others = [
        known,
        replace(known, refiner=adapted),
        replace(known, adapted={"b": adapted}),
        replace(known, devices=known.devices | {"a": device("a", 0.0, -79.0)}),
        replace(known, devices=known.devices | {"b": device("b", 1.0, -80.0)}),
    ]
    rests_on = {tuple(transport_start("refiner_transport", one).also_from("b")) for one in others}
    assert len(rests_on) == 4  # weights for all and for this pair alone are the same to it
    assert transport_start("transport", known).also_from("b") == ()
