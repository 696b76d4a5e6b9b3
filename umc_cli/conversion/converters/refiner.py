"""`refiner` and `refiner_quantile`: a trained network corrects what `eq_noise` or `quantile` makes of a recording."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB
from umc_cli.conversion.band_interpolation import band_gain_db, noise_floor_db
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.engines import build_refiner_engine
from umc_cli.conversion.engines.contract import RefinerEngine
from umc_cli.conversion.noise_aware_eq import signal_power
from umc_cli.conversion.quantile_mapping import QuantilePosition, level_at, locate, quantiles_by_band
from umc_cli.conversion.refiner_checkpoint import load_refiner
from umc_cli.conversion.refiner_network import KnownPair, refined, refiner_maps
from umc_cli.conversion.rows_by_key import rows_by_key


@dataclass(frozen=True)
class _Begun:
    log_mel: Tensor
    signal: Tensor
    position: QuantilePosition | None


class RefiningConverter:
    """The rule-based start, the maps and the network, see `conversion.refiner`."""

    def __init__(self, ingredients: Ingredients, uses_recordings: bool) -> None:
        if ingredients.refiner is None:
            raise ValueError("the refiner was built without a checkpoint")
        device = ingredients.torch_device
        self._engine_name, self._engine, self._checkpoint_sha256 = _engine(ingredients.refiner, ingredients)
        own = {target: path for target, path in ingredients.adapted.items() if target in ingredients.targets}
        adapted = {path: _engine(path, ingredients)[1] for path in {*own.values()}}
        self._engines = dict.fromkeys(ingredients.targets, self._engine)
        self._engines |= {target: adapted[path] for target, path in own.items()}
        source = ingredients.devices[ingredients.source]
        self._source_floor_db = noise_floor_db(source, device)
        self._pairs = {
            target: KnownPair(
                gain_db=band_gain_db(source, ingredients.devices[target], device),
                source_floor_db=self._source_floor_db,
                target_floor_db=noise_floor_db(ingredients.devices[target], device),
            )
            for target in ingredients.targets
        }
        self._quantiles_db: dict[str, Tensor] = {}
        if uses_recordings:
            self._quantiles_db = {
                name: quantiles_by_band(ingredients.level_quantiles[name], device)
                for name in (ingredients.source, *ingredients.targets)
            }
        self._source_quantiles_db = self._quantiles_db.get(ingredients.source)

    def begin(self, log_mel: Tensor) -> _Begun:
        """Compute the signal's power and each level's place among the source's quantiles. Shape: [B, 80, 80], dB."""
        position = None
        if self._source_quantiles_db is not None:
            position = locate(log_mel, self._source_quantiles_db.expand(len(log_mel), -1, -1).contiguous())
        return _Begun(log_mel, signal_power(log_mel, self._source_floor_db), position)

    def convert(self, begun: _Begun, target: str) -> Tensor:
        """Return what `target` would have recorded. Shape: [B, 80, 80] dB; never below the floor of -100 dB."""
        quantiles_db = self._quantiles_db.get(target)
        if quantiles_db is not None:
            quantiles_db = quantiles_db.expand(len(begun.log_mel), -1, -1)
        return _refined(begun, self._pairs[target], quantiles_db, self._engines[target])

    def convert_to_each(self, begun: _Begun, targets: Sequence[str]) -> Tensor:
        """Return every segment as its own target would have recorded it. Shape: [B, 80, 80] dB, as of `convert`."""
        pairs = [self._pairs[target] for target in targets]
        pair = KnownPair(
            gain_db=torch.stack([each.gain_db for each in pairs]),
            source_floor_db=self._source_floor_db,
            target_floor_db=torch.stack([each.target_floor_db for each in pairs]),
        )
        quantiles_db = None
        if self._quantiles_db:
            quantiles_db = torch.stack([self._quantiles_db[target] for target in targets])
        engines = [self._engines[target] for target in targets]
        return _refined(
            begun, pair, quantiles_db, lambda maps: torch.cat([one(part) for one, part in rows_by_key(maps, engines)])
        )

    def describe(self) -> dict[str, str]:
        """Return the engine, the precision actually used, and the checkpoint of targets without an adapted one."""
        return {
            "engine": self._engine_name,
            "precision": self._engine.precision.value,
            "checkpoint_sha256": self._checkpoint_sha256,
        }


def _refined(
    begun: _Begun, pair: KnownPair, quantiles_db: Tensor | None, network: Callable[[Tensor], Tensor]
) -> Tensor:
    """Correct the start of a pair, or of a pair for each segment. `quantiles_db`: [B, 80, Q] of the targets."""
    mapped = None
    if begun.position is not None and quantiles_db is not None:
        mapped = level_at(begun.position, quantiles_db)
    maps, start = refiner_maps(begun.signal, begun.log_mel, pair, mapped)
    return refined(start, network(maps)).clamp_min_(FLOOR_DB)


def _engine(path: Path, ingredients: Ingredients) -> tuple[str, RefinerEngine, str]:
    """Return the name of the engine, the network in it, and the checksum of its checkpoint."""
    trained, settings = load_refiner(path), ingredients.engine
    name, engine = build_refiner_engine(
        trained.refiner,
        engine=settings.engine,
        precision=settings.precision,
        device=ingredients.torch_device,
        threads=settings.threads,
    )
    return name, engine, trained.sha256


plain_refiner = partial(RefiningConverter, uses_recordings=False)
"""Starts from `eq_noise`."""

quantile_refiner = partial(RefiningConverter, uses_recordings=True)
"""Starts from `quantile`."""
