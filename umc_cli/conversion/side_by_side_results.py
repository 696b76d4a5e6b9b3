"""What `umc pair` left in a workspace for devices that lay side by side: adapted weights and level tables.

One folder for each set of devices, `checkpoints/side-by-side/<ids>/`, with `refiner.safetensors` (if it was worth
keeping) and `level_quantiles.json`.
"""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

from umc_cli.checkpoint import read_metadata
from umc_cli.config import Workspace
from umc_cli.conversion.level_quantiles import LevelQuantiles
from umc_cli.conversion.level_tables import TABLES_NAME, read_level_tables

FOLDER_NAME = "side-by-side"
WEIGHTS_NAME = "refiner.safetensors"
ADAPTED_FILES = f"{FOLDER_NAME}/*/{WEIGHTS_NAME}"
"""Pattern in the folder of checkpoints."""
ADAPTED = "side_by_side"
"""Key of the weights' header under `training` that says what they were adapted to."""
_LONGEST_NAME = 150


def folder_for(workspace: Workspace, devices: Collection[str]) -> Path:
    """Return the folder of a set of devices."""
    name = "+".join(sorted(devices))
    if len(name) > _LONGEST_NAME:
        name = f"{len(devices)}-devices-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return workspace.checkpoints / FOLDER_NAME / name


def adapted_weights(workspace: Workspace, source: str, targets: Sequence[str]) -> dict[str, Path]:
    """Return by target the weights that were adapted to it and the source, the latest if there are several.

    Targets without any are left out.

    Raises:
        SettingsError: weights are there and cannot be read.
    """
    found: dict[str, Path] = {}
    for folder, devices in _latest_first(workspace):
        own = [target for target in targets if {source, target} <= devices]
        found = dict.fromkeys(own, folder / WEIGHTS_NAME) | found
    return found


def tables_side_by_side(workspace: Workspace, devices: Collection[str]) -> dict[str, LevelQuantiles] | None:
    """Return level tables of all these devices that were learned from the same sounds; None where there are none.

    Those beside the latest weights come first.

    Raises:
        SettingsError: tables or weights are there and are damaged.
    """
    with_weights = [folder for folder, _ in _latest_first(workspace)]
    for folder in dict.fromkeys([*with_weights, *_folders(workspace)]):
        if (folder / TABLES_NAME).is_file():
            tables = read_level_tables(folder)
            if tables.keys() >= {*devices}:
                return {device: tables[device] for device in devices}
    return None


def _latest_first(workspace: Workspace) -> list[tuple[Path, frozenset[str]]]:
    """Return the folders that hold weights, and the devices that these were adapted to."""
    dated = []
    for folder in _folders(workspace):
        if (folder / WEIGHTS_NAME).is_file():
            training = read_metadata(folder / WEIGHTS_NAME).get("training", {})
            about = training.get(ADAPTED)
            devices = about.get("devices") if isinstance(about, dict) else None
            names = frozenset(map(str, devices)) if isinstance(devices, list) else frozenset()
            dated.append((str(training.get("date", "")), folder, names))
    return [(folder, names) for _, folder, names in sorted(dated, key=lambda entry: entry[:2], reverse=True)]


def _folders(workspace: Workspace) -> list[Path]:
    folder = workspace.checkpoints / FOLDER_NAME
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
