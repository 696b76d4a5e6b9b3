import tempfile
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umc_cli.audio.manifest import FailedInput
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.errors import SettingsError
from umc_cli.shards.plan import Plan, hash_of, is_written, read_plan, write_plan
from umc_cli.shards.plan_differences import differences
from umc_cli.shards.planned_files import PlannedFile, PlannedFiles, store_files


def planned(name: str, n_segments: int) -> PlannedFile:
    return PlannedFile(name, "bell", name, "train-sec", 100, 22_050, 1, 20_480 * n_segments, n_segments, {"room": "3"})


def stored(files: Iterable[PlannedFile]) -> PlannedFiles:
    return store_files(files, Path(tempfile.gettempdir()))


def plan_of(counts: list[int], shard_size: int = 10) -> Plan:
    files = stored(planned(f"{index}.wav", count) for index, count in enumerate(counts))
    return Plan("x", {"converter": "eq", "log_mel": {"n_mels": 80}}, shard_size, files, (FailedInput("z", "bad"),))


@given(counts=st.lists(st.integers(0, 50), max_size=30), shard_size=st.integers(1, 20))
def test_every_segment_has_one_place_in_order(counts: list[int], shard_size: int) -> None:
    plan = plan_of(counts, shard_size)
    shards = list(plan.shards())
    rows = [
        (piece.file.path, piece.first_segment + offset, piece.first_index + offset)
        for pieces in shards
        for piece in pieces
        for offset in range(piece.n_segments)
    ]
    expected = [(f"{file}.wav", segment) for file, count in enumerate(counts) for segment in range(count)]
    assert rows == [(*place, index) for index, place in enumerate(expected)]
    assert all(0 < sum(piece.n_segments for piece in pieces) <= shard_size for pieces in shards)
    assert [sum(piece.n_segments for piece in pieces) for pieces in shards] == plan.summary.shard_sizes
    assert (plan.n_segments, plan.n_shards) == (sum(counts), len(shards))


@given(counts=st.lists(st.integers(1, 10), max_size=30))
def test_a_file_that_fits_is_never_split(counts: list[int]) -> None:
    pieces = [piece for pieces in plan_of(counts, 10).shards() for piece in pieces]
    assert len(pieces) == len(counts)


def test_pieces_know_their_start_samples() -> None:
    pieces = [piece for pieces in plan_of([25], 10).shards() for piece in pieces]
    starts = [start for piece in pieces for start in piece.starts(SegmentSettings())]
    assert starts == list(range(0, 25 * 20_480, 20_480))


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    plan = plan_of([1, 2, 3])
    write_plan(plan, {"y": "abc"}, tmp_path)
    found = read_plan(tmp_path)
    assert found is not None
    assert [getattr(found[0], name) for name in ("source", "settings", "shard_size", "failed", "summary")] == [
        getattr(plan, name) for name in ("source", "settings", "shard_size", "failed", "summary")
    ]
    assert list(found[0].files) == list(plan.files)
    assert found[1] == {"y": "abc"}
    assert read_plan(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("counts", [[], [1], [1, 2, 3]])
def test_the_run_id_is_the_hash_that_the_format_describes(counts: list[int]) -> None:
    plan = plan_of(counts)
    content = {"source": "x", "settings": plan.settings, "shard_size": 10, "files": [asdict(f) for f in plan.files]}
    assert plan.run_id == hash_of(content)


def test_a_plan_knows_its_file(tmp_path: Path) -> None:
    plan = plan_of([1, 2, 3])
    assert not is_written(plan, {"y": "abc"}, tmp_path)
    write_plan(plan, {"y": "abc"}, tmp_path)
    assert is_written(plan, {"y": "abc"}, tmp_path)
    assert not is_written(plan, {"y": "abd"}, tmp_path)
    assert not is_written(replace(plan, files=stored(list(plan.files)[:-1])), {"y": "abc"}, tmp_path)
    path = tmp_path / "run.json"
    whole = path.read_bytes()
    for other in (whole + b"\n", whole[:-1], b"\xff" + whole[1:]):
        path.write_bytes(other)
        assert not is_written(plan, {"y": "abc"}, tmp_path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    write_plan(plan_of([1]), {}, tmp_path)
    text = (tmp_path / "run.json").read_text().replace('"format_version": 1', '"format_version": 2')
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(SettingsError, match="version 2; this umc reads 1"):
        read_plan(tmp_path)


def test_differences_are_named() -> None:
    old = plan_of([1, 2])
    assert list(differences(old, plan_of([1, 2]))) == []
    assert list(differences(old, replace(old, source="q"))) == ["--source: x then, q now"]
    other = replace(old, settings={"converter": "eq_noise", "log_mel": {"n_mels": 64}})
    assert list(differences(old, other)) == [
        "--converter: eq then, eq_noise now",
        "log_mel.n_mels: 80 then, 64 now",
    ]
    assert list(differences(old, plan_of([1, 2, 3]))) == ["recordings: 1 new or changed, 0 gone or changed"]
    relabelled = replace(old, files=stored(replace(file, label="knock") for file in old.files))
    assert list(differences(old, relabelled)) == ["recordings: other labels, columns or order"]
    first, second = old.files
    moved = replace(old, files=stored([replace(first, split="val-sec"), second]))
    assert next(differences(old, moved)).startswith("recordings: 1 in another split")
    assert old.run_id != relabelled.run_id
