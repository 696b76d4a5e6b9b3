"""The conversion that a classifier was trained with, made once more from what its checkpoint says of it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from umc_cli.audio.manifest import Clip, recordings_if_any
from umc_cli.config import Workspace
from umc_cli.conversion.chosen.conversion import ADAPTED_WITH, Conversion
from umc_cli.conversion.chosen.known import gaps
from umc_cli.conversion.chosen.recorded_floors import add_recorded_floors
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import EngineSettings, Ingredients, Need
from umc_cli.conversion.generator_settings import SHIPPED_GENERATOR
from umc_cli.conversion.level_quantiles import LevelQuantiles
from umc_cli.conversion.level_tables import TABLES_NAME, read_level_tables
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.conversion.side_by_side_results import ADAPTED_FILES, tables_side_by_side
from umc_cli.conversion.transport_files import read_transport
from umc_cli.errors import SettingsError, UmcError
from umc_cli.precision import Precision
from umc_cli.response.device import Device, DeviceRegistry
from umc_cli.runtime import cpu_count
from umc_cli.sec.methods import CONVERSIONS
from umc_cli.sec.models import SecModel
from umc_cli.shards.schema import read_shard_header
from umc_cli.shards.updates import find_shards

_WEIGHTS_OF_ALL_TARGETS = "checkpoint_sha256"


@dataclass
class TrainedConversion:
    """One segment of a model's source, converted as its training samples were."""

    converter: str
    trained_targets: frozenset[str]
    """Devices that training samples were converted to."""
    converted: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """By target: [80, 80], dB."""
    missing: dict[str, str] = field(default_factory=dict)
    """By target that there is no conversion to: why."""


@dataclass(frozen=True)
class _Recipe:
    converter: str
    made_with: Mapping[str, str]
    """sha256 of the weights: of all targets, or by target."""
    checkpoint: Path | None
    """Where the weights were."""
    tables: Mapping[str, LevelQuantiles]
    """By device."""
    place: Path
    """Where the training, or the run of the shards, left what it learned from recordings."""


def convert_as_trained(
    workspace: Workspace, model: SecModel, log_mel: NDArray[np.float32], targets: Sequence[str]
) -> TrainedConversion | None:
    """Convert a segment of the model's source to `targets` with the converter that the model was trained with.

    Weights are those of the training, found by their checksum; tables of levels are those that the training, or the
    shards that it read, left. Device records are the workspace's. Computed in fp32 on the CPU, whatever the training
    did. None of a model that was trained without conversion.

    Shape: [80, 80], dB.

    Raises:
        SettingsError: the model does not say how it was trained, or the shards that it was trained with are gone.
        InputError: these shards are damaged.
    """
    training = model.training
    if training.get("converter") is None and not CONVERSIONS.keys() & set(model.method.split("+")):
        return None
    recipe = _recipe(workspace, model)
    conversion = TrainedConversion(recipe.converter, frozenset(map(str, training.get("targets") or ())))
    records = _Records(workspace, model.source)
    for target in targets:
        try:
            conversion.converted[target] = _convert(workspace, records, recipe, model.source, target, log_mel)
        except UmcError as error:
            conversion.missing[target] = error.message
    return conversion


def _recipe(workspace: Workspace, model: SecModel) -> _Recipe:
    converter, made_with, settings = (model.training.get(name) for name in ("converter", "made_with", "settings"))
    known = isinstance(converter, str) and converter in CONVERTERS
    if not known or not isinstance(made_with, dict) or not isinstance(settings, dict):
        raise SettingsError(f"{model.path} does not say how its samples were converted", "train it again")
    place, checkpoint = Path(model.path).parent, settings.get("checkpoint")
    if settings.get("shards"):
        shards = find_shards(workspace.root / settings["shards"])
        first = next((path for path in shards if not read_shard_header(path).is_original), shards[0])
        header = read_shard_header(first)
        if made_with.get(header.target) != header.run_id:
            raise SettingsError(f"{first} is not of the shards that it was trained with", "convert again")
        place, checkpoint = first.parent.parent, None
        made_with = header.description.get("settings", {}).get("made_with", {}) | _adapted_by_target(shards)
    return _Recipe(
        converter=str(converter),
        made_with=made_with,
        checkpoint=workspace.root / checkpoint if checkpoint else None,
        tables=_tables(workspace, place, model) if Need.RECORDINGS in CONVERTERS[str(converter)].needs else {},
        place=place,
    )


def _tables(workspace: Workspace, place: Path, model: SecModel) -> Mapping[str, LevelQuantiles]:
    """Return the level tables: those of devices side by side, which come first there too, or what the training left."""
    devices = {model.source, *map(str, model.training.get("targets") or ())}
    return tables_side_by_side(workspace, devices) or read_level_tables(place)


def _adapted_by_target(shards: Sequence[Path]) -> dict[str, str]:
    """Return by target the checksum of weights that serve it alone, from one shard of each folder."""
    headers = map(read_shard_header, {path.parent: path for path in shards}.values())
    own = {header.target: header.description.get(ADAPTED_WITH) for header in headers}
    return {target: sha256 for target, sha256 in own.items() if sha256}


class _Records:
    """The workspace's records; where a noise floor is needed and missing, what recordings tell, as in the training."""

    def __init__(self, workspace: Workspace, source: str) -> None:
        self._workspace, self._source = workspace, source
        self._registry = DeviceRegistry(workspace.devices)
        self._completed: dict[str, Device] = {}

    def of(self, names: Sequence[str], needs_floor: bool) -> dict[str, Device]:
        """Return those of `names` that there are."""
        records = {
            name: self._completed[name] if name in self._completed else self._registry.get(name)
            for name in names
            if name in self._registry
        }
        if needs_floor and any(record.noise_floor_db is None for record in records.values()):
            floors = add_recorded_floors(records, self._clips, self._source)
            self._completed |= {name: floors.devices[name] for name in floors.origins}
            records |= self._completed
        return records

    @cached_property
    def _clips(self) -> Sequence[Clip]:
        return recordings_if_any(self._workspace.data, self._workspace.splits).clips


def _convert(
    workspace: Workspace,
    records: _Records,
    recipe: _Recipe,
    source: str,
    target: str,
    log_mel: NDArray[np.float32],
) -> NDArray[np.float32]:
    needs = CONVERTERS[recipe.converter].needs
    if Need.RECORDINGS in needs and source not in recipe.tables:
        raise SettingsError(f"the levels of {source} that it was trained with ({TABLES_NAME}) are gone", "train again")
    weights = _weights(workspace, recipe, target) if needs & {Need.CHECKPOINT, Need.REFINER} else None
    ingredients = Ingredients(
        source=source,
        targets=(target,),
        devices=records.of((source, target), Need.NOISE_FLOOR in needs),
        torch_device=torch.device("cpu"),
        level_quantiles={name: table.levels_db for name, table in recipe.tables.items()},
        checkpoint=weights,
        refiner=weights,
        engine=EngineSettings(engine="torch", precision=Precision.FP32, threads=cpu_count()),
    )
    missing = gaps(recipe.converter, ingredients)
    if missing:
        raise SettingsError(f"converter {recipe.converter} lacks {missing[target]}", "add it")
    if CONVERTERS[recipe.converter].moves:
        transports = {target: read_transport(recipe.place, recipe.converter, source, target)}
        ingredients = replace(ingredients, transports=transports)
    converted: NDArray[np.float32] = Conversion(recipe.converter, ingredients)(log_mel[None])[target][0].numpy()
    if not np.isfinite(converted).all():
        raise SettingsError(f"converter {recipe.converter} gives levels that are not finite", "train its weights again")
    return converted


def _weights(workspace: Workspace, recipe: _Recipe, target: str) -> Path:
    """Return the file that holds the weights of the training."""
    wanted = recipe.made_with.get(target) or recipe.made_with.get(_WEIGHTS_OF_ALL_TARGETS)
    if wanted is None:
        raise SettingsError("the training had no converter to it", "name it with --targets")
    given = [recipe.checkpoint] if recipe.checkpoint else []
    own = sorted(workspace.checkpoints.glob("*.safetensors")), sorted(workspace.checkpoints.glob(ADAPTED_FILES))
    for path in (*given, *chain(*own), SHIPPED_REFINER, SHIPPED_GENERATOR):
        if path.is_file() and _sha256(path) == wanted:
            return path
    raise SettingsError(
        f"the weights that it was trained with (sha256 {wanted[:12]}...) are not in {workspace.checkpoints}",
        "put them back",
    )


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
