"""`umc convert --update`: a data set that grew. What is new or changed becomes a run beside the first one."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from umc_cli.config import Workspace
from umc_cli.conversion.chosen.choice import AUTO
from umc_cli.conversion.chosen.conversion import Conversion
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.shard_actor import Order
from umc_cli.errors import SettingsError
from umc_cli.settings.convert import ConvertSettings
from umc_cli.shards import schema
from umc_cli.shards.audio_index import RUN_NAME as AUDIO_RUN_NAME
from umc_cli.shards.audio_index import index_name
from umc_cli.shards.generations import Generation, UpdatePlan, begin_update, complete_update, plan_update
from umc_cli.shards.part import WHOLE
from umc_cli.shards.plan import Plan, PlanHead, read_head
from umc_cli.shards.recording_times import check_times, touched_warning
from umc_cli.shards.run_folder import complete_shard, refuse_updated, settle
from umc_cli.shards.updates import update_folder
from umc_cli.workflows.convert_report import Kinds, UpdateCounts


def output_root(settings: ConvertSettings, workspace: Workspace) -> Path:
    """Return the output folder."""
    return settings.output or workspace.converted


def run_to_update(settings: ConvertSettings, root: Path) -> PlanHead | None:
    """Return what the run in `root` was made with, if it is to be updated; None where there is none.

    Raises:
        SettingsError: its plan is broken, or the settings contradict each other.
    """
    if not settings.update:
        return None
    if settings.overwrite:
        raise SettingsError("--update keeps what is there and --overwrite removes it", "give one of them")
    return read_head(root)


def as_then(settings: ConvertSettings, then: PlanHead | None) -> ConvertSettings:
    """Return the settings with the converter of the run that is updated, where `auto` may choose another one now."""
    converter = then.settings.get("converter") if then else None
    if settings.converter != AUTO or not isinstance(converter, str):
        return settings
    return settings.model_copy(update={"converter": converter})


def as_begun(conversion: Conversion, root: Path) -> Conversion:
    """Return what `auto` chose, but for a run in `root` that began with what the converter moves: that one goes on.

    Both need the same, so that nothing but the version of umc chooses otherwise.

    Raises:
        SettingsError: the run's plan is broken.
    """
    moved = CONVERTERS[conversion.converter].moves
    begun = read_head(root) if moved and not conversion.chosen_by else None
    if moved is None or begun is None or begun.settings.get("converter") != moved:
        return conversion
    return replace(conversion, converter=moved, reason=f"as the run in {root} began")


def plan_of_update(
    settings: ConvertSettings, order: Order, plan: Plan, target_ids: Mapping[str, str], folder: Path, are_listed: bool
) -> UpdatePlan | None:
    """Return what is to be updated; None where an ordinary run is wanted. Writes nothing; see `plan_update`.

    Raises:
        SettingsError: it cannot be updated, or an ordinary run would go into a folder of updates.
    """
    if not settings.update:
        if not settings.overwrite:
            refuse_updated(order.root)
        return None
    update = plan_update(order.root, plan, target_ids, order.inputs, folder, are_listed=are_listed)
    if update:
        _refuse_to_leave_behind(settings, order.root)
    return update


def settle_generations(
    settings: ConvertSettings, order: Order, plan: Plan, target_ids: dict[str, str], *, are_listed: bool
) -> tuple[list[Generation], UpdatePlan | None, list[str]]:
    """Make the plans on disk say what is to be made, and return all that are to be gone through, with warnings.

    Raises:
        SettingsError: the folder holds another run's results, recordings changed, or the run cannot be updated.
        EnvironmentFault: the folder cannot be written.
    """
    root, part = order.root, settings.part or WHOLE
    update = plan_of_update(settings, order, plan, target_ids, root, are_listed)
    if not update:
        settle(root, plan, target_ids, settings.overwrite)
        return [Generation(root, plan)], None, check_times(root, plan, part)
    begun = update.generations[:-1] if update.name else update.generations
    for generation in begun:
        settle(generation.folder, generation.plan, target_ids, overwrite=False)
    begin_update(update, target_ids, note_times=part == WHOLE)
    return update.generations, update, warnings_of(update)


def warnings_of(update: UpdatePlan) -> list[str]:
    """Return what a user should know of an update."""
    changes = update.changes
    warnings = [touched_warning(changes.touched)] if changes.touched else []
    if changes.n_moved:
        are = "1 recording is" if changes.n_moved == 1 else f"{changes.n_moved} recordings are"
        warnings.append(
            f"{are} converted anew for another split alone: splits are dealt out over all recordings of a label "
            "(a manifest's column `split` fixes them)"
        )
    return warnings


def counts_of(update: UpdatePlan) -> UpdateCounts:
    """Return what a report says of an update."""
    changes = update.changes
    return UpdateCounts(
        update.name, len(changes.new), len(changes.changed), changes.n_moved, len(changes.gone), changes.n_kept
    )


def note_completed(update: UpdatePlan, target_ids: Mapping[str, str], kinds: Kinds) -> None:
    """Write down which updates are complete: from then on their rows count, and those that they replace do not."""
    is_complete = {
        generation.folder: all(
            _is_made(generation, target, target_id, number, kinds)
            for target, target_id in target_ids.items()
            for number in range(generation.plan.n_shards)
        )
        for generation in update.generations[1:]
        if generation.folder in _unfinished(update)
    }
    complete_update(update, is_complete)


def _unfinished(update: UpdatePlan) -> set[Path]:
    return {update_folder(update.root, each.name) for each in update.updates.updates if not each.complete}


def _is_made(generation: Generation, target: str, target_id: str, number: int, kinds: Kinds) -> bool:
    folder = generation.folder / target
    identity = {"run_id": generation.plan.run_id, "target_id": target_id, "shard_index": number}
    return not (
        (kinds.shards and complete_shard(folder / schema.shard_name(number), identity) is None)
        or (kinds.audio and not (folder / index_name(number)).exists())
    )


def _refuse_to_leave_behind(settings: ConvertSettings, root: Path) -> None:
    """Refuse to update one kind of results, while another one would stay as it was."""
    has_audio = (root / AUDIO_RUN_NAME).exists() and not settings.audio
    has_shards = "shards" not in settings.write and next(root.glob(f"*/{schema.SHARD_GLOB}"), None) is not None
    if has_audio or has_shards:
        what = "audio files" if has_audio else "shards"
        raise SettingsError(
            f"the run in {root} has {what}, which the update would leave behind",
            f"add them to --write ({'shards,flac' if has_audio else ','.join(('shards', *settings.write))})",
        )
