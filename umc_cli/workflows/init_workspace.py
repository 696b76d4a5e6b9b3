"""`umc init`: an umc.toml with the settings in use, each explained, for the sections that are wanted."""

import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from umc_cli import atomic_write
from umc_cli.audio.manifest import find_recordings
from umc_cli.config import SECTIONS, WORKSPACE_FILE, Option, Workspace, find_workspace, given_in_environment
from umc_cli.errors import SettingsError, UmcError, did_you_mean
from umc_cli.response.device import is_device_id
from umc_cli.settings.sections import settings_of
from umc_cli.workflows.report_base import Report

DEFAULT_SECTIONS = ("convert", "train-sec", "eval")
"""Of the settings that most people change."""

_OF_A_CALL = frozenset({"resume", "overwrite", "part", "dry_run", "name", "files"})
"""Settings that make no sense for every call."""
_WIDTH = 100
_FOLDERS = {
    "data": "recordings: <data>/<device>/<label>/**, or <data>/manifest.csv",
    "devices": "device records",
    "checkpoints": "trained weights",
    "converted": "results of umc convert",
    "runs": "training runs",
}


@dataclass
class InitReport(Report):
    """What was written."""

    path: str
    sections: list[str]
    source: str | None = None
    """The only device with recordings, if there is one; the file names it."""


def init_workspace(folder: Path, sections: Sequence[str] = DEFAULT_SECTIONS) -> InitReport:
    """Write `<folder>/umc.toml`: the settings in use. Those that are defaults stand in comments, with what they mean.

    `sections`: of umc.toml, or `all`.

    Raises:
        SettingsError: there is one already, or a section is unknown.
        EnvironmentFault: the folder cannot be written.
    """
    path = folder / WORKSPACE_FILE
    if path.exists():
        raise SettingsError(f"{path} exists", "edit it, or move it away first: umc init replaces nothing")
    if not sections:
        raise SettingsError("no section is named", f"name some of: {', '.join(SECTIONS[1:])}, or all")
    chosen = list(SECTIONS[1:]) if tuple(sections) == ("all",) else list(dict.fromkeys(sections))
    for section in chosen:
        if section not in SECTIONS[1:]:
            raise SettingsError(f"unknown section {section!r}", did_you_mean(section, SECTIONS[1:], "sections"))
    workspace = find_workspace(folder)
    report = InitReport(str(path), chosen, _only_device(workspace))
    if workspace.root != folder.resolve():
        report.warnings.append(
            f"{workspace.root / WORKSPACE_FILE} counted here so far; from now on {path} counts in its place"
        )
    parts = ["\n".join(_head(workspace, folder.resolve()))]
    parts += ["\n".join(_section(section, report.source)) for section in chosen]
    atomic_write.write_text(path, "\n\n".join(parts) + "\n")
    return report


def _only_device(workspace: Workspace) -> str | None:
    try:
        devices = {clip.device for clip in find_recordings(workspace.data, workspace.splits).clips}
    except UmcError:  # there is no data yet, or something is wrong with it that other commands say
        return None
    return devices.pop() if len(devices) == 1 and is_device_id(min(devices)) else None


def _head(workspace: Workspace, root: Path) -> Iterator[str]:
    yield "# Settings of umc. Options on the command line and variables (UMC_CONVERT_HOP=10240) count more than these."
    yield "# Lines that begin with # are the defaults: remove the # to set one."
    yield ""
    yield "[workspace]"
    for name, meaning in _FOLDERS.items():
        place: Path = getattr(workspace, name)
        text = place.relative_to(root).as_posix() if place.is_relative_to(root) else str(place)
        yield f"{'# ' if text == name else ''}{name} = {json.dumps(text, ensure_ascii=False)}  # {meaning}"
    given = given_in_environment("")
    for name, default, meaning in (
        ("shares", "train=80,test=20", "shares of the splits, of recordings that have none"),
        ("split_map", "train=training,val=dev", "an example: what a manifest calls its splits"),
    ):
        line = f"{name} = {json.dumps(given.get(name, default))}  # {meaning}"
        yield line if name in given else f"# {line}"


def _section(section: str, source: str | None) -> Iterator[str]:
    schema = settings_of(section)
    given = given_in_environment(section)
    yield f"[{section}]"
    if "preset" in schema.model_fields:
        yield "# What is not set comes from the preset, whose values may differ from those in comments."
    for name, field in sorted(schema.model_fields.items(), key=lambda item: not item[1].is_required()):
        if name in _OF_A_CALL:
            continue
        meaning = " ".join((field.description or "").replace("`", "").split())
        yield from textwrap.wrap(meaning, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
        if name in given:
            yield f"{name} = {json.dumps(given[name], ensure_ascii=False)}"
        elif name == "source" and field.is_required() and source:
            yield f"{name} = {json.dumps(source)}"
        else:
            yield f"# {name} = {_default(field)}"


def _default(field: FieldInfo) -> str:
    """Return the default as TOML, or in words where TOML cannot say it."""
    mark = Option.of(field)
    if field.is_required():
        return "..."
    value = field.get_default(call_default_factory=True)
    if value is None or value == ():
        return f"...  (default: {mark.default})" if mark and mark.default else "...  (default: none)"
    return _toml(value)


def _toml(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(str(key))} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple | frozenset):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, Enum):
        value = value.value
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
