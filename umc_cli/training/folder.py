"""The folder of a training run: begun, resumed, replaced or refused."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel

from umc_cli.config import Workspace, dump_settings, load_settings
from umc_cli.errors import SettingsError, did_you_mean, guess
from umc_cli.response.device import is_device_id
from umc_cli.runtime import compute_threads, cpu_count, versions
from umc_cli.shards.run_folder import locked
from umc_cli.training.ranks import Ranks, joined
from umc_cli.training.run_options import MAY_CHANGE, RunSettings
from umc_cli.training.run_settings import CONVERTER, check_same, clear_run, read_run_settings, write_run_settings

_RESUMED_BY = {"adversarial": "umc train", "refiner": "umc train --pretrain simulated", "sec": "umc train-sec"}
"""The command that trains, by kind of run."""


RunSettingsT = TypeVar("RunSettingsT", bound=RunSettings)


def run_path(workspace: Workspace, name: str) -> Path:
    """Return the folder of a run.

    Raises:
        SettingsError: the name cannot be one of a folder.
    """
    if not is_device_id(name):
        raise SettingsError(
            f"{name!r} cannot be the name of a run", "use up to 64 letters, digits, dots, dashes and underscores"
        )
    return workspace.runs / name


@contextmanager
def shared_run(folder: Path, device_name: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the other processes of a training, if there are any; the first one holds the lock of the run's folder.

    `device_name`: see `training.ranks.joined`.

    Raises:
        SettingsError: no such device here, or one device for several ranks.
        EnvironmentFault: the folder cannot be written, another run is writing it, or the processes do not find each
            other.
    """
    with (
        joined(device_name) as (ranks, device),
        locked(folder) if ranks.is_first else nullcontext(),
        compute_threads(cpu_count()),
    ):
        yield ranks, device


def load_over_preset(
    request: RunSettingsT,
    workspace: Workspace,
    section: str,
    given: Mapping[str, Any],
    presets: Mapping[str, BaseModel],
    kind: str,
    presets_of: str = "",
) -> RunSettingsT:
    """Return the settings of a call: `given`, environment and umc.toml over its preset, or over the run to resume.

    `request`: the same settings over no preset; they say which one is meant, or which run. `presets_of`: an option
    that the presets are of, for the message.

    Raises:
        SettingsError: the preset is unknown, a value is not allowed, or there is no run to resume.
    """
    if request.preset not in presets:
        of = f" of {presets_of}" if presets_of else ""
        raise SettingsError(
            f"unknown preset {request.preset!r}{of}", did_you_mean(request.preset, presets, f"presets{of}")
        )
    below = (
        _settings_to_resume(workspace, request.run_name, kind)
        if request.resume
        else dump_settings(presets[request.preset])
    )
    return load_settings(type(request), workspace, section, given, below)


def _settings_to_resume(workspace: Workspace, name: str, kind: str) -> dict[str, Any]:
    """Return the settings that the run of this name was started with.

    Raises:
        SettingsError: there is no such run, or it is of another kind.
    """
    started = read_run_settings(run_path(workspace, name))
    if started is None:
        known = sorted(path.parent.name for path in workspace.runs.glob("*/settings.json"))
        raise SettingsError(
            f"there is no run {name!r} to resume",
            f"{guess(name, known)}name it with --name; there are: {', '.join(known) or 'none'}",
        )
    if started["kind"] != kind:
        command = _RESUMED_BY.get(started["kind"])
        raise SettingsError(
            f"the run {name!r} is of another kind ({started['kind']}, not {kind})",
            f"resume it with: {command} --name {name} --resume" if command else "name another run with --name",
        )
    return dict(started["settings"])


def run_to_resume(folder: Path, settings: RunSettings) -> str | None:
    """Return the id of the run in `folder` if it is resumed; None if there is none or it may be replaced.

    Raises:
        SettingsError: there is a run that is neither resumed nor replaced, or it was started with other settings.
    """
    before = read_run_settings(folder) if settings.resume or not settings.overwrite else None
    if settings.resume and before:
        # The name only says which run is meant: a default that is spelled out is the same one.
        check_same(before["settings"], settings.of_the_run(), MAY_CHANGE, folder)
        return str(before["run_id"])
    if before:
        raise SettingsError(
            f"there is a run {settings.run_name!r} in {folder}",
            "resume it (--resume), replace it (--overwrite) or give this one another name (--name)",
        )
    return None


def settle_run(folder: Path, settings: RunSettings) -> str:
    """Return the id of the run in `folder` if it is resumed, or a new one; then a run to replace is removed.

    Raises:
        SettingsError: see `run_to_resume`.
    """
    resumed = run_to_resume(folder, settings)
    if resumed is not None:
        return resumed
    clear_run(folder)
    return secrets.token_hex(8)


def check_same_recordings(folder: Path, fingerprint: str) -> None:
    """Refuse to resume the run in `folder`, if there is one, with other recordings than it began with.

    Raises:
        SettingsError: the recordings changed.
    """
    before = read_run_settings(folder)
    if before and before["recordings_sha256"] != fingerprint:
        raise SettingsError(
            f"the recordings are not those that the run in {folder} was started with",
            "restore them, or start another run with --name",
        )


def note_start(
    folder: Path,
    run_id: str,
    kind: str,
    settings: Mapping[str, Any],
    fingerprint: str,
    content_sha256: str = "",
    converter: str | None = None,
) -> None:
    """Write settings.json; of a run that goes on, refuse other recordings than it began with.

    `content_sha256`: of what is trained on, where it is known; the same names and lengths may hold another sound.
    `converter`: what samples are converted with.

    Raises:
        SettingsError: the recordings changed.
        EnvironmentFault: the folder cannot be written.
    """
    check_same_recordings(folder, fingerprint)
    before = read_run_settings(folder)
    if before and content_sha256 and before.get("content_sha256", content_sha256) != content_sha256:
        raise SettingsError(
            f"recordings were changed since the run in {folder} was started, though their lengths are the same",
            "restore them, start this run anew with --overwrite, or start another one with --name",
        )
    content = {"run_id": run_id, "kind": kind, "settings": dict(settings), "recordings_sha256": fingerprint}
    if known := content_sha256 or (before or {}).get("content_sha256"):
        content["content_sha256"] = known
    if converter:
        content[CONVERTER] = converter
    write_run_settings(folder, content | {"versions": versions()})
