"""`film_gan`: the trained generator, steered by the difference of the two devices (paper, section 3)."""

from typing import Any

import torch
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.conversion.converters.contract import ConverterSpec, Ingredients, Need
from umc_cli.conversion.engines import build_engine
from umc_cli.conversion.generator_checkpoint import load_generator, preset_name
from umc_cli.conversion.normalisation import denormalise, normalise
from umc_cli.errors import SettingsError
from umc_cli.precision import Precision
from umc_cli.response.difference import fr_difference_db, level_difference_db


class GeneratorConverter:
    """Normalise, stem once, trunk per target, denormalise; the level goes around the generator if it is carried."""

    def __init__(self, ingredients: Ingredients) -> None:
        if ingredients.checkpoint is None:
            raise ValueError("film_gan was built without a checkpoint")
        trained = load_generator(ingredients.checkpoint)
        if trained.generator.settings.film_encoder == "none":
            _check_pair(ingredients, trained.training.get("pair"))
        settings = ingredients.engine
        self._engine_name, self._engine = build_engine(
            trained.generator,
            engine=settings.engine,
            precision=settings.precision,
            device=ingredients.torch_device,
            threads=settings.threads,
        )
        self._normalisation = trained.normalisation
        self._level = trained.generator.settings.level
        # The first InstanceNorm takes the level of a segment off. In 16 bits the level would take the segment's own
        # digits with it before: a nearly silent one came out 2 to 8 dB wrong.
        self._is_centred = self._level == "lost" and self._engine.precision is not Precision.FP32
        self._checkpoint_sha256 = trained.sha256
        self._preset = preset_name(trained.generator.settings)

        source = ingredients.devices[ingredients.source]
        self._film: dict[str, tuple[Tensor, Tensor]] = {}
        self._level_difference_db: dict[str, float] = {}
        for target in ingredients.targets:
            record = ingredients.devices[target]
            difference = torch.from_numpy(fr_difference_db(source, record)).unsqueeze(0)
            # On the CPU in fp32 whatever the engine: every engine then gets the very same condition.
            with torch.inference_mode():
                gamma, beta = trained.generator.film_encoder(difference)
            self._film[target] = (gamma.to(ingredients.torch_device), beta.to(ingredients.torch_device))
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

    def describe(self) -> dict[str, str]:
        """Return the engine, the precision actually used, the checkpoint and the kind of generator."""
        return {
            "engine": self._engine_name,
            "precision": self._engine.precision.value,
            "checkpoint_sha256": self._checkpoint_sha256,
            "generator_preset": self._preset,
            **({"input": "centred"} if self._is_centred else {}),
        }


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


SPEC = ConverterSpec(
    summary="converts with a trained generator, conditioned on the difference of the frequency responses",
    needs=frozenset({Need.RESPONSE, Need.CHECKPOINT}),
    build=GeneratorConverter,
)
