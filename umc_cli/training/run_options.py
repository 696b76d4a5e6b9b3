"""Which training run a command means, whether it resumes or replaces it, and which settings belong to the run."""

from typing import Annotated, Any

from umc_cli.config import RUN, Option, Settings, dump_settings

MAY_CHANGE = frozenset({"name", "epochs", "max_steps", "log_every", "validate_every", "save_every", "precision"})
"""Settings that a resumed run may change: they decide no step's result, except for rounding."""
_OF_THE_CALL = frozenset({"resume", "overwrite", "publish", "workers", "compute_device", "compile", "dry_run"})
"""Settings of one call, not of the run."""


class RunSettings(Settings):
    """Settings that every training has."""

    preset: str
    """The preset that settings which are not given come from."""
    name: str | None = None
    """Name of the run's folder."""
    resume: Annotated[bool, Option(RUN)] = False
    """Resume the run of this name."""
    overwrite: Annotated[bool, Option(RUN)] = False
    """Replace the run of this name."""
    dry_run: Annotated[bool, Option()] = False
    """Say what would be read, trained and kept, how long it takes and how much room it needs; write nothing."""

    @property
    def run_name(self) -> str:
        """Return the name of the run's folder."""
        return self.name or self.preset

    def of_the_run(self) -> dict[str, Any]:
        """Return the settings of the run, without those of this call alone."""
        return {name: value for name, value in dump_settings(self).items() if name not in _OF_THE_CALL}
