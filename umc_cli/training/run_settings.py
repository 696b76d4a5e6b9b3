"""`settings.json` of a training run: what it was started with, and whether it may go on with what is asked now."""

import json
import shutil
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from umc_cli import atomic_write
from umc_cli.errors import SettingsError
from umc_cli.json_text import JsonFormat
from umc_cli.training.metrics import METRICS_NAME, TENSORBOARD_NAME

SETTINGS_NAME = "settings.json"
FORMAT = JsonFormat(
    "umc-training-run", 1, "record of a training run", "choose another --name", "start again with --overwrite"
)
CONVERTER = "converter"
"""Key of the converter that samples are converted with; a run of a version before maps does not hold it."""
PICTURES_NAME = "pictures"
EARLIER: Mapping[str, Mapping[str, Any]] = {
    "adversarial": {"condition": "shape", "keep": "best"},
    "sec": {"keep": "best", "unified": "best"},
}
"""By kind of run, what settings meant before they were settings: a run of an earlier version does not hold them."""
_REASONS_SHOWN = 4


def write_run_settings(folder: Path, content: Mapping[str, Any]) -> None:
    """Write what the run is started with: plain JSON values.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """
    atomic_write.write_text(folder / SETTINGS_NAME, json.dumps(FORMAT.header | dict(content), indent=2) + "\n")


def read_run_settings(folder: Path) -> dict[str, Any] | None:
    """Return what a run was started with; None if there is no run in `folder`.

    Raises:
        SettingsError: the file is broken or of an unknown version.
    """
    path = folder / SETTINGS_NAME
    if not path.exists():
        return None
    if not path.is_file():
        raise SettingsError(f"{path} cannot be read: it is not a regular file", "choose another --name")
    content = FORMAT.read(path)
    for name, kind in (("run_id", str), ("kind", str), ("settings", dict), ("recordings_sha256", str)):
        if not isinstance(content.get(name), kind):
            raise SettingsError(
                f"{path} is damaged: {name!r} is missing or of a wrong type", "start again with --overwrite"
            )
    content["settings"] = {**EARLIER.get(content["kind"], {}), **content["settings"]}
    return content


def clear_run(folder: Path) -> None:
    """Remove a run, but keep its log-mel segments, which another run of this name may take over.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """
    with atomic_write.explain_os_errors(folder):
        for path in [*folder.glob("*.safetensors"), folder / METRICS_NAME, folder / SETTINGS_NAME]:
            path.unlink(missing_ok=True)
        for name in (PICTURES_NAME, TENSORBOARD_NAME):
            shutil.rmtree(folder / name, ignore_errors=True)


def check_same(then: Mapping[str, Any], now: Mapping[str, Any], free: Set[str], folder: Path) -> None:
    """Refuse to go on with other settings than the run was started with; those in `free` may differ.

    Raises:
        SettingsError: naming what differs.
    """
    reasons = [
        f"{name}: {then.get(name)!r} then, {now.get(name)!r} now"
        for name in sorted({*then, *now} - free)
        if then.get(name) != now.get(name)
    ]
    if reasons:
        more = f"; and {len(reasons) - _REASONS_SHOWN} more" if len(reasons) > _REASONS_SHOWN else ""
        raise SettingsError(
            f"the run in {folder} was started with other settings ({'; '.join(reasons[:_REASONS_SHOWN])}{more})",
            "leave these options out to resume with --resume, or start another run with --name",
        )
