"""`umc shards`: what an output folder holds, and whether it is intact."""

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from umc_cli.audio.manifest import FailedInput
from umc_cli.errors import InputError, SettingsError
from umc_cli.shards.audio_index import check_audio, index_name, index_paths, read_index
from umc_cli.shards.builds import read_builds
from umc_cli.shards.generations import Generation, complete_generations
from umc_cli.shards.plan import Plan
from umc_cli.shards.schema import SHARD_GLOB, ShardHeader, check_shard, read_shard_header, shard_name
from umc_cli.shards.updates import LiveRows, count_live, find_shards, run_folders, unfinished_updates


@dataclass
class TargetShards:
    """The shards of one target."""

    target: str
    source: str
    converter: str
    n_shards: int = 0
    n_segments: int = 0
    """That count."""
    n_superseded: int = 0
    """Of recordings that an update replaced or found gone."""
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
    n_updates: int = 0
    """Complete ones, of the run in the folder."""

    @property
    def exit_code(self) -> int:
        """0: all is well; 1: a shard is damaged or missing."""
        return 1 if self.damaged else 0


def list_shards(root: Path) -> ShardsReport:
    """Read the header of every shard below `root`, and count the audio files that indexes list.

    Raises:
        SettingsError: there are no shards.
    """
    report, _ = _inspect(root, read_shard_header)
    for folder in run_folders(root):
        for path in index_paths(folder):
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
    report, generations = _inspect(root, check_shard)
    report.n_verified = sum(target.n_shards for target in report.targets)
    for folder in run_folders(root):
        for path in index_paths(folder):
            n_files, damaged = check_audio(path)
            report.n_audio_files += n_files
            report.damaged += damaged
    for generation in generations:
        report.damaged += _against_the_plan(generation, {entry.path for entry in report.damaged})
    report.damaged += [
        FailedInput(str(folder), "is an update that is not complete", "run `umc convert --update` again")
        for folder in unfinished_updates(root)
    ]
    return report


def _against_the_plan(generation: Generation, damaged: Set[str]) -> list[FailedInput]:
    """Find what is missing in the folder of a run, and what does not belong there. `damaged`: known to be."""
    root, plan, targets = generation.folder, generation.plan, generation.targets
    indexes = index_paths(root)
    found = {path.relative_to(root).as_posix() for path in root.glob(f"*/{SHARD_GLOB}")}
    expected: set[str] = set()
    if found or not indexes:
        expected |= {f"{target}/{shard_name(index)}" for target in targets for index in range(plan.n_shards)}
    wrong = [
        FailedInput(str(root / name), "is missing", "run `umc convert` again") for name in sorted(expected - found)
    ]
    wrong += [FailedInput(str(root / name), "is not in the plan", "remove it") for name in sorted(found - expected)]
    wrong += _missing_indexes(root, plan, targets, indexes)
    wrong_paths = {entry.path for entry in wrong} | damaged
    intact = [name for name in sorted(found & expected) if str(root / name) not in wrong_paths]
    return wrong + _of_other_runs(root, plan.run_id, targets, intact)


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


def _shards_and_runs(root: Path) -> tuple[list[Path], list[Generation]]:
    try:
        return find_shards(root), complete_generations(root)
    except SettingsError as error:
        generations = complete_generations(root)
        if index_paths(root):
            return [], generations
        if not generations or not generations[0].plan.n_shards:
            raise
        raise SettingsError(
            f"{root} holds the plan of a run of {generations[0].plan.n_shards} shards a target, but none is finished "
            "yet",
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


def _inspect(root: Path, read: Callable[[Path], ShardHeader]) -> tuple[ShardsReport, list[Generation]]:
    """Return what shards say, and the run in `root` with its complete updates, if there is one."""
    paths, generations = _shards_and_runs(root)
    report = ShardsReport(
        str(root),
        n_planned_shards=sum(each.plan.n_shards for each in generations) if generations else None,
        builds=read_builds(root),
        n_updates=len(generations[1:]),
    )
    live_rows = LiveRows()
    targets: dict[str, TargetShards] = {}
    for path in paths:
        try:
            header = read(path)
            n_live = count_live(path, header, live_rows.superseded(path))
        except InputError as error:
            report.damaged.append(FailedInput(str(path), error.message, error.hint))
            continue
        converter = "none" if header.is_original else header.converter
        entry = targets.setdefault(header.target, TargetShards(header.target, header.source, converter))
        entry.n_shards += 1
        entry.n_segments += n_live
        entry.n_superseded += header.n_segments - n_live
        entry.n_bytes += path.stat().st_size
    report.targets = list(targets.values())
    return report, generations
