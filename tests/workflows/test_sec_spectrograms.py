"""Which event, devices and conversions the spectrogram rows of the report show."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.conversion.devices import device
from tests.evaluation.scored_models import scored_model
from tests.samples import RATE_HZ, noise, write_audio
from umc_cli.audio.manifest import Clip
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import find_workspace
from umc_cli.evaluation.device_table import TableRow, table_row
from umc_cli.evaluation.recorded_segments import SegmentReader
from umc_cli.response.device import write_device
from umc_cli.sec.models import SecModel
from umc_cli.workflows import sec_spectrograms
from umc_cli.workflows.sec_spectrograms import MOST_PICTURES, draw_spectrograms, find_event

DEVICES = ("a", "b", "c", "d", "e", "f")
SETTINGS = SegmentSettings()


def event(seed: int, burst: bool) -> np.ndarray:
    """Two segments of noise; a burst is a second segment of which half is 60 dB below the rest."""
    sound = noise(2.0, seed)
    if burst:
        sound[round(1.4 * RATE_HZ) :] *= 0.001
    return sound


def record(root: Path, name: str, devices: Sequence[str], burst: bool = False, seconds: float = 2.0) -> list[Clip]:
    clips = []
    for each in devices:
        gain = 1 + DEVICES.index(each)
        samples = gain * event(len(name), burst)[: round(seconds * RATE_HZ)]
        path = write_audio(root / f"data/{each}/{name}.wav", samples, subtype="FLOAT")
        clips.append(Clip(str(path), each, "hiss", "val-sec", name))
    return clips


def as_recorded(clips: Sequence[Clip], name: str, device_id: str, row: int) -> np.ndarray:
    own = [clip for clip in clips if (clip.device, clip.recording) == (device_id, name)]
    return SegmentReader(SETTINGS, 50).read(own).log_mel[row]


def test_the_event_is_the_one_of_most_devices_whose_levels_spread_most(tmp_path: Path) -> None:
    clips = [
        *record(tmp_path, "even", "abc"),
        *record(tmp_path, "burst", "abc", burst=True),
        *record(tmp_path, "of fewer devices", "ab", burst=True),
        *record(tmp_path, "of a alone", "a", burst=True),
    ]
    for order in (clips, clips[::-1]):
        found = find_event("a", ["b", "c"], order, SETTINGS)
        assert found is not None
        assert (found.recording, found.label, found.start) == ("burst", "hiss", 20_480)
        np.testing.assert_array_equal(found.log_mel, as_recorded(clips, "burst", "a", 1))
        assert list(found.recorded) == ["b", "c"]
        for other, levels in found.recorded.items():
            np.testing.assert_array_equal(levels, as_recorded(clips, "burst", other, 1))


def test_padding_is_shown_only_where_there_is_nothing_else(tmp_path: Path) -> None:
    clips = [*record(tmp_path, "short", "ab", seconds=0.5), *record(tmp_path, "whole", "ab")]
    found = find_event("a", ["b"], clips, SETTINGS)
    assert found is not None
    assert found.recording == "whole"
    found = find_event("a", ["b"], clips[:2], SETTINGS)
    assert found is not None
    assert found.recording == "short"


def test_there_is_no_event_without_a_recording_in_common(tmp_path: Path) -> None:
    clips = [*record(tmp_path, "one", "a"), *record(tmp_path, "other", "b")]
    assert find_event("a", ["b"], clips, SETTINGS) is None
    both = record(tmp_path, "third", "ab")
    assert find_event("a", ["c"], both, SETTINGS) is None
    both[1].path.write_bytes(b"RIFF")
    assert find_event("a", ["b"], both, SETTINGS) is None


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return a list that will hold the arguments of every figure, which is not drawn."""
    calls: list[tuple[Any, ...]] = []

    def note(*arguments: Any) -> Figure:
        calls.append(arguments)
        return Figure(figsize=(2, 1))

    monkeypatch.setattr(sec_spectrograms, "conversion_figure", note)
    return calls


def model(method: str, source: str = "a", converter: str | None = None, targets: Sequence[str] = ()) -> SecModel:
    said = {"converter": converter, "targets": list(targets), "made_with": {}, "settings": {}}
    name = f"{source}-{method}"
    return SecModel(name, f"runs/{name}/best.safetensors", "", source, method, ("x", "y"), said)


def row(each: SecModel, **scores: float) -> TableRow:
    return table_row([scored_model(scores, each.source, each.method, each.name)], each.method)


def draw(root: Path, models: Sequence[SecModel], clips: Sequence[Clip], **scores: float) -> Any:
    rows = [row(each, **scores) for each in models]
    return draw_spectrograms(find_workspace(root), models, rows, clips, SETTINGS)


def test_a_picture_has_input_conversion_and_recording_of_the_same_segment(tmp_path: Path, drawn: list[Any]) -> None:
    for each in (device("a"), device("b", 6.0), device("c", -3.0)):
        write_device(each, tmp_path / "devices")
    clips = record(tmp_path, "burst", "abc", burst=True)
    models = [model("none"), model("eq", converter="eq", targets=["b"])]
    (rows,) = draw(tmp_path, models, clips, a=0.9, b=0.5, c=0.4)
    ((given, differences, converted, source, centres_hz, recorded),) = drawn
    np.testing.assert_array_equal(given, as_recorded(clips, "burst", "a", 1))
    for target, gain_db in {"b": 6, "c": -3}.items():
        np.testing.assert_allclose(converted[target], np.maximum(given + gain_db, -100), atol=1e-4)
        np.testing.assert_allclose(differences[target], np.full(128, gain_db), atol=1e-5)
        np.testing.assert_array_equal(recorded[target], as_recorded(clips, "burst", target, 1))
    assert (source, len(centres_hz)) == ("a", 128)
    assert "Recording 'burst' (label 'hiss'), 0.93 s from 0.93 s on" in rows.event
    assert rows.event.endswith("the models trained on a do worst on c on average.")
    assert [picture.caption for picture in rows.pictures] == [
        "eq: converter eq. The training converted to 1 device, not to c."
    ]
    assert rows.pictures[0].png.startswith(b"\x89PNG")
    assert rows.pictures[0].width == 220
    assert rows.notes == []


def test_models_that_convert_nothing_get_recordings_alone(tmp_path: Path, drawn: list[Any]) -> None:
    clips = record(tmp_path, "even", "ab")
    (rows,) = draw(tmp_path, [model("none"), model("ideal")], clips, a=0.9, b=0.5)
    ((_, differences, converted, _, _, recorded),) = drawn
    assert (differences, converted, list(recorded)) == ({}, {"b": None}, ["b"])
    assert [picture.caption for picture in rows.pictures] == [
        "No conversion: the source's recording, and those of the targets."
    ]


def test_what_cannot_be_converted_is_said(tmp_path: Path, drawn: list[Any]) -> None:
    for each in (device("a", noise_floor_db=-80.0), device("b", noise_floor_db=-80.0), device("c")):
        write_device(each, tmp_path / "devices")
    clips = record(tmp_path, "even", "abc")
    models = [
        model("eq-noise", converter="eq_noise", targets=["b", "c"]),
        model("quantile", converter="quantile", targets=["b"]),
        model("mc"),
    ]
    (rows,) = draw(tmp_path, models, clips, b=0.5, c=0.4)
    assert len(drawn) == len(rows.pictures) == 1
    assert (drawn[0][2]["b"] is None, drawn[0][2]["c"]) == (False, None)
    assert rows.notes == [
        "mc: its conversion cannot be drawn: runs/a-mc/best.safetensors does not say how its samples were converted.",
        "eq-noise: not converted to c: converter eq_noise lacks a noise floor in the record of c.",
        "quantile: not converted to b, c: the levels of a that it was trained with (level_quantiles.json) are gone.",
    ]


def test_equal_conversions_share_a_picture(tmp_path: Path, drawn: list[Any]) -> None:
    for each in (device("a"), device("b", 6.0)):
        write_device(each, tmp_path / "devices")
    models = [model(method, converter="eq", targets=["b"]) for method in ("eq", "eq+mixup")]
    (rows,) = draw(tmp_path, models, record(tmp_path, "even", "ab"), b=0.5)
    assert [picture.caption for picture in rows.pictures] == ["eq, eq+mixup: converter eq."]


def test_columns_are_the_worst_device_and_those_trained_for(tmp_path: Path, drawn: list[Any]) -> None:
    clips = record(tmp_path, "even", DEVICES)
    scores = {"a": 0.1, "b": 0.5, "c": 0.6, "d": 0.2, "e": 0.7, "f": 0.8}
    draw(tmp_path, [model("eq", converter="eq", targets=["e", "f"])], clips, **scores)
    assert list(drawn[0][2]) == ["b", "d", "e", "f"]


def test_each_source_has_its_own_and_the_page_has_not_too_many(tmp_path: Path, drawn: list[Any]) -> None:
    for number, each in enumerate(DEVICES[:3]):
        write_device(device(each, float(number)), tmp_path / "devices")
    clips = [*record(tmp_path, "even", "abc"), *record(tmp_path, "of d alone", "d")]
    of_a = [model(f"eq+{n}", "a", "eq", [f"t{n}"]) for n in range(3)]
    of_b = [model(f"eq+{n}", "b", "eq", [f"t{n}"]) for n in range(MOST_PICTURES)]
    everything = draw(tmp_path, [model("none", "d"), *of_a, *of_b, model("none", "c")], clips, a=0.4, b=0.5, c=0.6)
    assert [rows.source for rows in everything] == ["d", "a", "b", "c"]
    assert [len(rows.pictures) for rows in everything] == [0, 3, MOST_PICTURES - 3, 0]
    assert (
        everything[0].event == "No picture: no other device has a recording of the same sound (the same `recording`)."
    )
    assert everything[2].notes == ["Left out, as the page holds enough pictures: eq+5, eq+6, eq+7."]
    assert everything[3].event == "No picture: the page holds enough of them; see it alone with --source c."
