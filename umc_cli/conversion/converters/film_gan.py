"""`film_gan`: the trained generator, steered by the difference of the two devices (paper, section 3)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.conversion.condition import condition_db
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.engines import build_engine
from umc_cli.conversion.generator_checkpoint import load_generator, preset_name
from umc_cli.conversion.normalisation import denormalise, normalise
from umc_cli.errors import SettingsError
from umc_cli.precision import Precision
from umc_cli.response.difference import level_difference_db
from umc_cli.response.frequency_response import REFERENCE_HZ, band_centres_hz
from umc_cli.training.row_numbers import sent


class GeneratorConverter:
    """Normalise, stem once, trunk per target, denormalise; the level goes around the generator if it is carried."""

    def __init__(self, ingredients: Ingredients) -> None:
        if ingredients.checkpoint is None:
            raise ValueError("film_gan was built without a checkpoint")
        trained = load_generator(ingredients.checkpoint)
        if trained.generator.settings.film_encoder == "none":
            _check_pair(ingredients, trained.training.get("pair"))
        self._settings = trained.generator.settings
        self._film_encoder = trained.generator.film_encoder
        settings = ingredients.engine
        self._engine_name, self._engine = build_engine(
            trained.generator,
            engine=settings.engine,
            precision=settings.precision,
            device=ingredients.torch_device,
            threads=settings.threads,
        )
        self._normalisation = trained.normalisation
        self._level = self._settings.level
        # The first InstanceNorm takes the level of a segment off. In 16 bits the level would take the segment's own
        # digits with it before: a nearly silent one came out 2 to 8 dB wrong.
        self._is_centred = self._level == "lost" and self._engine.precision is not Precision.FP32
        self._checkpoint_sha256 = trained.sha256
        self._preset = preset_name(self._settings)
        self._torch_device = ingredients.torch_device

        self._film: dict[str, tuple[Tensor, Tensor]] = {}
        self._level_difference_db: dict[str, float] = {}
        for target in ingredients.targets:
            source, record = ingredients.devices[ingredients.source], ingredients.devices[target]
            condition = torch.from_numpy(condition_db(source, record, self._settings.condition))
            self._film[target] = self._encoded(condition.unsqueeze(0))
            carried = self._level == "carried"
            self._level_difference_db[target] = (level_difference_db(source, record) or 0.0) if carried else 0.0

    def begin(self, log_mel: Tensor) -> tuple[Any, Tensor]:
        """Return the stem and what `denormalise` must add. Shape: [B, 80, 80] dB -> engine's own, [B, 1, 1] dB."""
        normalised, offset_db = normalise(log_mel, self._normalisation, self._level)
        if self._is_centred:
            normalised = normalised - normalised.mean(dim=(1, 2), keepdim=True)
        return self._engine.stem(normalised), offset_db

    def convert(self, begun: tuple[Any, Tensor], target: str) -> Tensor:
        """Return what `target` would have recorded. Shape: [B, 80, 80] dB; never below the floor of -100 dB."""
        stem, offset_db = begun
        converted = self._engine.trunk(stem, *self._film[target])
        offset_db = offset_db + self._level_difference_db[target]
        return denormalise(converted, offset_db, self._normalisation).clamp_min_(FLOOR_DB)

    def convert_to_each(self, begun: tuple[Any, Tensor], targets: Sequence[str]) -> Tensor:
        """Return every segment as its own target would have recorded it. Shape: [B, 80, 80] dB, as of `convert`."""
        stem, offset_db = begun
        gamma, beta = (torch.cat([self._film[target][number] for target in targets]) for number in range(2))
        difference_db = torch.tensor([self._level_difference_db[target] for target in targets])[:, None, None]
        converted = self._engine.trunk(stem, gamma, beta)
        offset_db = offset_db + sent(difference_db, offset_db.device)
        return denormalise(converted, offset_db, self._normalisation).clamp_min_(FLOOR_DB)

    def convert_each(self, begun: tuple[Any, Tensor], fr_difference_db: Tensor) -> Tensor:
        """Return every segment as a device would have recorded it that differs from the source by its own curve.

        The FiLM encoder is given exactly these curves. Only where the level goes around a generator that was told
        shapes, their value at 1 kHz goes with it, as that of records does.
        Shape: what `begin` returned for [B, 80, 80]; [B, 128] dB on the CPU, target minus source -> [B, 80, 80] dB.
        """
        stem, offset_db = begun
        condition_db = fr_difference_db.float()
        if self._level == "carried":
            at_reference_db = _at_reference_db(condition_db)
            offset_db = offset_db + at_reference_db[:, :, None].to(offset_db.device)
            if self._settings.condition == "shape":
                condition_db = condition_db - at_reference_db
        converted = self._engine.trunk(stem, *self._encoded(condition_db))
        return denormalise(converted, offset_db, self._normalisation).clamp_min_(FLOOR_DB)

    @torch.inference_mode()
    def _encoded(self, condition_db: Tensor) -> tuple[Tensor, Tensor]:
        # On the CPU in fp32 whatever the engine: every engine then gets the very same condition.
        gamma, beta = self._film_encoder(condition_db)
        return gamma.to(self._torch_device), beta.to(self._torch_device)

    def describe(self) -> dict[str, str]:
        """Return the engine, the precision actually used, the checkpoint and the kind of generator."""
        return {
            "engine": self._engine_name,
            "precision": self._engine.precision.value,
            "checkpoint_sha256": self._checkpoint_sha256,
            "generator_preset": self._preset,
            **({"input": "centred"} if self._is_centred else {}),
        }


def _at_reference_db(fr_difference_db: Tensor) -> Tensor:
    """Return the value of each curve at 1 kHz. Shape: [B, 128] -> [B, 1]."""
    centres_hz = band_centres_hz()
    values = [np.interp(REFERENCE_HZ, centres_hz, curve) for curve in fr_difference_db.numpy()]
    return torch.tensor(values, dtype=torch.float32).unsqueeze(1)


def _check_pair(ingredients: Ingredients, pair: object) -> None:
    """Refuse to let a generator of one pair of devices convert between others."""
    devices = [ingredients.source, *ingredients.targets]
    if not isinstance(pair, list) or len(pair) != 2:
        raise SettingsError(
            f"checkpoint {ingredients.checkpoint} was trained for one pair of devices but does not say which",
            "train it again with `umc train --pair A:B`",
        )
    if devices != pair:
        raise SettingsError(
            f"checkpoint {ingredients.checkpoint} converts {pair[0]} to {pair[1]} only, "
            f"not {devices[0]} to {', '.join(devices[1:])}",
            f"use --source {pair[0]} --targets {pair[1]}; the reverse direction has its own checkpoint",
        )
