"""Whether the weights of a finished run go where `umc convert` finds them, and why.

They go there if they are asked to (`--publish`), or if they are better on the held-out data of their run than the
weights that `umc convert` would take without them. A short run never replaces good weights unseen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from umc_cli import atomic_write
from umc_cli.checkpoint import read_metadata
from umc_cli.conversion.chosen.weights_in_words import weights_in_words
from umc_cli.errors import SettingsError

_TRIAL = "smoke"
"""The preset whose weights replace none: what its few held-out sounds say is chance."""


@dataclass(frozen=True)
class Publication:
    """What became of a run's weights."""

    paths: list[str] = field(default_factory=list)
    """Where they went; empty if they stay in the run's folder."""
    reason: str = ""
    """In words; empty if the run is not finished."""


@dataclass(frozen=True)
class Rival:
    """The weights that `umc convert` would take without those of the run."""

    paths: Sequence[Path]
    """Two for a pair; empty if there are none."""
    score: Callable[[], float] | None
    """Returns their validation score on what the run held out, and may raise SettingsError; None: nothing is held
    out."""


@dataclass(frozen=True)
class FinishedRun:
    """A run whose kept weights are to go somewhere, or to stay."""

    folder: Path
    run_id: str
    preset: str
    score: float | None
    """Validation score of these weights; lower is better."""
    targets: Mapping[str, Path]
    """Where the weights would go, by their names in the folder."""


def publish(run: FinishedRun, wish: bool | None, rival: Rival) -> Publication:
    """Copy the kept weights of a finished run to where `umc convert` finds them, if they belong there.

    `wish`: what was asked for; None to let the comparison decide.

    Raises:
        EnvironmentFault: the checkpoints' folder cannot be written.
    """
    decided, reason = _decide(run, wish, rival)
    if not decided:
        return Publication(reason=reason)
    for name, path in run.targets.items():
        with atomic_write.atomic_path(path) as partial:
            partial.write_bytes((run.folder / name).read_bytes())
    return Publication([str(path) for path in run.targets.values()], reason)


def _decide(run: FinishedRun, wish: bool | None, rival: Rival) -> tuple[bool, str]:
    targets = run.targets.values()
    if wish is False:
        return False, "--no-publish"
    standing = " and ".join(_words(path) for path in rival.paths)
    if wish:
        replaced = [path for path in targets if path.exists() and _run_of(path) != run.run_id]
        return True, "--publish" + (f"; replaced {' and '.join(map(_words, replaced))}" if replaced else "")
    if not rival.paths:
        return True, "there were none before"
    if all(path.exists() and _run_of(path) == run.run_id for path in targets):
        return True, "the run's own earlier weights were there"
    if run.preset == _TRIAL:
        return False, f"a run of the preset {_TRIAL} only shows that all works; {standing} stay"
    if run.score is None or rival.score is None:
        return False, f"no recordings are held out to compare them with {standing}"
    try:
        rival_score = rival.score()
    except SettingsError as error:
        return False, f"they cannot be compared with {standing}: {error.message}"
    is_better = run.score < rival_score
    return is_better, (
        f"validation score {run.score:.3g} on held-out recordings, {'better' if is_better else 'not better'} than "
        f"{rival_score:.3g} of {standing}; lower is better"
    )


def _run_of(path: Path) -> str | None:
    try:
        run_id = read_metadata(path).get("training", {}).get("run_id")
    except SettingsError:
        return None
    return run_id if isinstance(run_id, str) else None


def _words(path: Path) -> str:
    try:
        return weights_in_words(path)
    except SettingsError:
        return f"unreadable weights ({path})"
