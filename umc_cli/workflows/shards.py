"""`umc shards`: what an output folder holds, and whether it is intact."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from umc_cli.audio.manifest import FailedInput
from umc_cli.errors import InputError, SettingsError
from umc_cli.shards.audio_index import check_audio, index_name, index_paths, read_index
from umc_cli.shards.builds import read_builds
from umc_cli.shards.plan import Plan, read_plan
from umc_cli.shards.schema import SHARD_GLOB, ShardHeader, check_shard, find_shards, read_shard_header, shard_name


@dataclass
class TargetShards:
    """The shards of one target."""

    target: str
    source: str
    converter: str
    n_shards: int = 0
    n_segments: int = 0
    n_bytes: int = 0


@dataclass
class ShardsReport:
    """What lies in an output folder."""

    root: str
    targets: list[TargetShards] = field(default_factory=list)
    n_planned_shards: int | None = None
    """Shards a target, by the plan; None where there is no plan."""
    damaged: list[FailedInput] = field(default_factory=list)
    n_verified: int = 0
    builds: list[dict[str, str]] = field(default_factory=list)
    """Versions and commits of umc that worked on the folder."""
    n_audio_files: int = 0
    """Of all targets."""

    @property
    def exit_code(self) -> int:
        """0: all is well; 1: a shard is damaged or missing."""
        return 1 if self.damaged else 0


def list_shards(root: Path) -> ShardsReport:
    """Read the header of every shard below `root`, and count the audio files that indexes list.

    Raises:
        SettingsError: there are no shards.
    """
    paths, planned = _shards_and_plan(root)
    report = _inspect(root, paths, read_shard_header, planned)
    for path in index_paths(root):
        try:
            report.n_audio_files += len(read_index(path).files)
        except SettingsError as error:
            report.damaged.append(FailedInput(str(path), error.message, error.hint))
    return report


def verify_shards(root: Path) -> ShardsReport:
    """Re-check every shard and audio file below `root` whole (checksums), and the plan against what is there.

    Raises:
        SettingsError: there are no shards, or the plan is broken.
    """
    paths, planned = _shards_and_plan(root)
    report = _inspect(root, paths, check_shard, planned)
    report.n_verified = sum(target.n_shards for target in report.targets)
    indexes = index_paths(root)
    for path in indexes:
        n_files, damaged = check_audio(path)
        report.n_audio_files += n_files
        report.damaged += damaged
    if planned:
        plan, targets = planned
        n_shards = report.n_planned_shards or 0
        found = {path.relative_to(root).as_posix() for path in root.glob(f"*/{SHARD_GLOB}")}
        expected: set[str] = set()
        if found or not indexes:
            expected |= {f"{target}/{shard_name(index)}" for target in targets for index in range(n_shards)}
        for name in sorted(expected - found):
            report.damaged.append(FailedInput(str(root / name), "is missing", "run `umc convert` again"))
        for name in sorted(found - expected):
            report.damaged.append(FailedInput(str(root / name), "is not in the plan", "remove it"))
        report.damaged += _missing_indexes(root, plan, targets, indexes)
        damaged_paths = {entry.path for entry in report.damaged}
        intact = [name for name in sorted(found & expected) if str(root / name) not in damaged_paths]
        report.damaged += _of_other_runs(root, plan.run_id, targets, intact)
    return report


def _missing_indexes(root: Path, plan: Plan, target_ids: Mapping[str, str], found: list[Path]) -> list[FailedInput]:
    """Find indexes of audio files that the plan lacks, or that another run left."""
    if not found:
        return []
    wrong = []
    for target, target_id in target_ids.items():
        for number in range(plan.n_shards):
            path = root / target / index_name(number)
            if path not in found:
                wrong.append(FailedInput(str(path), "is missing", "run `umc convert` again"))
                continue
            with suppress(SettingsError):  # it is among the damaged ones
                index = read_index(path)
                if (index.run_id, index.target_id, index.index) != (plan.run_id, target_id, number):
                    wrong.append(FailedInput(str(path), "was made by another run", "run `umc convert` again"))
    return wrong


def _shards_and_plan(root: Path) -> tuple[list[Path], tuple[Plan, dict[str, str]] | None]:
    try:
        return find_shards(root), read_plan(root)
    except SettingsError as error:
        planned = read_plan(root)
        if index_paths(root):
            return [], planned
        if not planned or not planned[0].n_shards:
            raise
        raise SettingsError(
            f"{root} holds the plan of a run of {planned[0].n_shards} shards a target, but none is finished yet",
            "give the same `umc convert` command again to resume it",
        ) from error


def _of_other_runs(root: Path, run_id: str, target_ids: Mapping[str, str], names: Sequence[str]) -> list[FailedInput]:
    """Find shards that another run left, or that do not belong where they lie."""
    others = []
    for name in names:
        header = read_shard_header(root / name)
        target = Path(name).parent.name
        if (header.run_id, header.target_id) != (run_id, target_ids.get(header.target)):
            others.append(FailedInput(str(root / name), "was made by another run", "run `umc convert` again"))
        elif (header.target, shard_name(header.index)) != (target, Path(name).name):
            reason = f"is shard {header.index} of {header.target}, in the wrong place"
            others.append(FailedInput(str(root / name), reason, "run `umc convert` again"))
    return others


def _inspect(
    root: Path, paths: list[Path], read: Callable[[Path], ShardHeader], planned: tuple[Plan, dict[str, str]] | None
) -> ShardsReport:
    report = ShardsReport(
        str(root), n_planned_shards=planned[0].n_shards if planned else None, builds=read_builds(root)
    )
    targets: dict[str, TargetShards] = {}
    for path in paths:
        try:
            header = read(path)
        except InputError as error:
            report.damaged.append(FailedInput(str(path), error.message, error.hint))
            continue
        converter = "none" if header.is_original else header.converter
        entry = targets.setdefault(header.target, TargetShards(header.target, header.source, converter))
        entry.n_shards += 1
        entry.n_segments += header.n_segments
        entry.n_bytes += path.stat().st_size
    report.targets = list(targets.values())
    return report
