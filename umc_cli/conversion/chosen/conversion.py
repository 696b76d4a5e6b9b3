"""One conversion, ready to be used: spectrograms of the source in, those of every target out.

Loads torch when the converter is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.manifest import FailedInput
from umc_cli.checkpoint import file_sha256
from umc_cli.conversion.chosen.weights_in_words import weights_of
from umc_cli.conversion.chosen.with_source import WithSource
from umc_cli.conversion.converters import CONVERTERS
from umc_cli.conversion.converters.contract import Converter, Ingredients, Need
from umc_cli.conversion.generator_settings import SHIPPED_GENERATOR
from umc_cli.conversion.level_quantiles import LevelQuantiles
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.conversion.transport import Transport, sha256_of
from umc_cli.errors import EnvironmentFault
from umc_cli.response.difference import fr_difference_db, level_difference_db
from umc_cli.runtime import compute_fp32_in_full
from umc_cli.shards.plan import hash_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ADAPTED_WITH = "adapted_checkpoint_sha256"
"""What a shard calls the checksum of weights that were adapted to its source and target."""


@dataclass(frozen=True)
class Conversion:
    """From one device to others by one converter. Weights are loaded when they are first needed.

    Can be pickled: what was built stays behind, and is built again where it arrives.
    """

    converter: str
    """A key of `conversion.converters.CONVERTERS`."""
    ingredients: Ingredients
    reason: str = "asked for"
    """Why this converter."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Devices that `all` would mean but that this converter cannot serve, and what is missing."""
    keeps_source: bool = False
    """The source is an output too: its recordings as they are."""
    recorded_floors: Mapping[str, str] = field(default_factory=dict)
    """By the id of a device whose record has no noise floor: from which of its recordings it was taken."""
    cautions: tuple[str, ...] = ()
    """What a user should know of the choice."""
    unread: tuple[FailedInput, ...] = ()
    """Recordings of devices that are left out because too few can be read."""
    chosen_by: Mapping[str, Any] = field(default_factory=dict)
    """The verdict of the workspace's own recordings, where it chose the converter (see `chosen.verdict`)."""

    @property
    def source(self) -> str:
        """Return the device that made the recordings."""
        return self.ingredients.source

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the devices that are converted to."""
        return self.ingredients.targets

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the devices that `built` gives spectrograms of: the targets, and the source if it is kept."""
        return (*self.targets, self.source) if self.keeps_source else self.targets

    @property
    def needs_level_tables(self) -> bool:
        """Tell whether the converter rests on the levels of recordings, and they are not there yet."""
        return Need.RECORDINGS in CONVERTERS[self.converter].needs and not self.ingredients.level_quantiles

    @property
    def learns_from_recordings(self) -> bool:
        """Tell whether something that the converter rests on is still to be learned from recordings."""
        return self.needs_level_tables or (self.learns_maps and not self.ingredients.transports)

    @property
    def learns_maps(self) -> bool:
        """Tell whether the converter rests on maps of segments."""
        return CONVERTERS[self.converter].moves is not None

    @cached_property
    def built(self) -> Converter:
        """The converter, built once.

        Raises:
            SettingsError: its weights are broken, or made for other settings.
            EnvironmentFault: it is not what was foretold of it.
        """
        spec = CONVERTERS[self.converter]
        converter = spec.build(replace(self.ingredients, torch_device=self.torch_device))
        if spec.foretell and (described := converter.describe()) != (foretold := spec.foretell(self.ingredients)):
            raise EnvironmentFault(
                f"converter {self.converter} computes with {described}, not with {foretold}",
                "name --engine and --precision",
            )
        return WithSource(converter, self.source) if self.keeps_source else converter

    @cached_property
    def made_with(self) -> dict[str, str]:
        """What a shard says of how it was made: engine, precision, weights.

        A GPU rounds otherwise than a CPU, in every step, so it is named.
        """
        kind = str(self.ingredients.torch_device).partition(":")[0]
        foretell = CONVERTERS[self.converter].foretell
        described = foretell(self.ingredients) if foretell else self.built.describe()
        return described | ({} if kind == "cpu" else {"compute_device": kind})

    @cached_property
    def torch_device(self) -> torch.device:
        """The device that computes."""
        import torch

        device = torch.device(self.ingredients.torch_device)
        compute_fp32_in_full(device)
        return device

    def weights(self) -> str | None:
        """Return what weights the converter computes with, in words; None if it has none.

        Raises:
            SettingsError: they cannot be read.
        """
        return weights_of(self.converter, self.ingredients)

    def __call__(self, log_mel: Tensor | NDArray[np.float32]) -> dict[str, Tensor]:
        """Return what every target would have recorded.

        Shape: [B, 80, 80] (mel bands, frames) float32 in dB -> the same for each target, on the device of computing.
        """
        import torch

        given = torch.as_tensor(log_mel, dtype=torch.float32, device=self.torch_device)
        with torch.no_grad():
            begun = self.built.begin(given)
            return {target: self.built.convert(begun, target) for target in self.targets}

    def waveform(
        self, samples: NDArray[np.float32] | Tensor, sample_rate: int, target: str, *, seed: int = 0
    ) -> NDArray[np.float32]:
        """Return the sound that `target` would have recorded, as long as the source's and at its rate.

        Shape: [n] or [channels, n] float32, full scale 1 -> the same. `seed`: of the noise that is added where the
        source has nothing to scale. Levels may exceed full scale.

        Raises:
            UmcError: the samples or the rate cannot be right, or there is no such target.
        """
        from umc_cli.conversion.waveforms.converting import convert_waveform

        return convert_waveform(
            samples, sample_rate, target, self.ingredients, lambda: self.built, self.converter, seed
        )

    def with_level_tables(self, tables: Mapping[str, LevelQuantiles]) -> Conversion:
        """Return the conversion with the levels of recordings, by device, that it rests on."""
        levels = {device: table.levels_db for device, table in tables.items()}
        return replace(self, ingredients=replace(self.ingredients, level_quantiles=levels))

    def with_transports(self, transports: Mapping[str, Transport]) -> Conversion:
        """Return the conversion with the maps, by target, that it rests on."""
        return replace(self, ingredients=replace(self.ingredients, transports=transports))

    def with_adapted(self, weights: Mapping[str, Path]) -> Conversion:
        """Return the conversion with refiners that were adapted to the source and one target, by target."""
        return replace(self, ingredients=replace(self.ingredients, adapted=weights))

    def computed_by(self, threads: int, device: torch.device | str | None = None) -> Conversion:
        """Return the conversion as so many processors compute it, or another device does."""
        ingredients = replace(
            self.ingredients,
            engine=self.ingredients.engine.model_copy(update={"threads": threads}),
            torch_device=device or self.ingredients.torch_device,
        )
        return replace(self, ingredients=ingredients)

    def for_other_machines(self) -> Conversion:
        """Return the conversion as it can be told to other machines: the package may be installed elsewhere there."""
        checkpoint, refiner = self.ingredients.checkpoint, self.ingredients.refiner
        checkpoint = None if checkpoint in (None, SHIPPED_GENERATOR) else checkpoint.absolute()
        refiner = None if refiner in (None, SHIPPED_REFINER) else refiner.absolute()
        adapted = {target: path.absolute() for target, path in self.ingredients.adapted.items()}
        ingredients = replace(self.ingredients, checkpoint=checkpoint, refiner=refiner, adapted=adapted)
        return replace(self, ingredients=ingredients)

    def on_this_machine(self) -> Conversion:
        """Return what `for_other_machines` told, as this machine has it."""
        ingredients = replace(
            self.ingredients,
            checkpoint=self.ingredients.checkpoint or SHIPPED_GENERATOR,
            refiner=self.ingredients.refiner or SHIPPED_REFINER,
        )
        return replace(self, ingredients=ingredients)

    def source_identity(self) -> dict[str, str | None]:
        """Return the hashes of all that is known of the source: its record and its level table."""
        record = self.ingredients.devices.get(self.source)
        return {
            "source_record_sha256": hash_of(record.model_dump(mode="json")) if record else None,
            "source_levels_sha256": self._levels_hash(self.source),
        }

    def target_id(self, target: str) -> str:
        """Return the hash of all that is known of a target: its record, its level table and weights of its own.

        The source needs to be known by its name only.
        """
        if target == self.source:
            return hash_of([target])
        record = self.ingredients.devices.get(target)
        known = [target, record.model_dump(mode="json") if record else None, self._levels_hash(target)]
        transport = self.ingredients.transports.get(target)
        moved = [sha256_of(transport)] if transport else []
        return hash_of([*known, *self.adapted_with(target).values(), *moved])

    def adapted_with(self, target: str) -> dict[str, str]:
        """Return the checksum of the weights that were adapted to source and target, if there are any."""
        path = self.ingredients.adapted.get(target)
        return {ADAPTED_WITH: file_sha256(path)} if path else {}

    def floors_of(self, *devices: str) -> dict[str, dict[str, str]]:
        """Return what a run or a shard says of noise floors that were taken from recordings, if any were."""
        own = {name: self.recorded_floors[name] for name in devices if name in self.recorded_floors}
        return {"recorded_noise_floors": own} if own else {}

    def differences(self, target: str) -> dict[str, Any]:
        """Return the differences of response [128] and level, target minus source, in dB; None where unknown."""
        records = self.ingredients.devices
        if self.source not in records or target not in records:
            return {"fr_difference_db": None, "level_difference_db": None}
        source, other = records[self.source], records[target]
        return {
            "fr_difference_db": [round(float(value), 3) for value in fr_difference_db(source, other)],
            "level_difference_db": level_difference_db(source, other),
        }

    def _levels_hash(self, device: str) -> str | None:
        levels_db = self.ingredients.level_quantiles.get(device)
        return None if levels_db is None else hash_of(levels_db.tolist())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("built", "made_with", "torch_device")}
