"""Fine-tune a generator of `film_gan` with the truth, as `umc pair` does the refiner: what would it gain?

    python examples/film_gan_side_by_side.py <folder of the data> --checkpoint FILE
        [--set pairs/dance_studio] [--steps 120]

Two devices recorded the same sounds at once. From one half of the recordings come the records (blind, as a workspace
measures them) and the pairs that the generator is fine-tuned on: 16 segments a step in both directions, Adam, 3e-4, the
log-spectral distance as loss. Printed is that distance in dB on the other half, by direction: no conversion, `eq`,
`eq_noise`, `film_gan` before and after.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from real_device_sets import Together, halves, learn_devices, read_set, read_together

from umc_cli.conversion.condition import condition_db
from umc_cli.conversion.converter_training.pretraining import log_spectral_loss
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.generator_checkpoint import TrainedGenerator, load_generator
from umc_cli.conversion.measuring.converters import convert_segments
from umc_cli.conversion.normalisation import denormalise, normalise
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.response.difference import level_difference_db

_BATCH, _RATE = 16, 3e-4


def converted(
    trained: TrainedGenerator, log_mel: torch.Tensor, known: Ingredients, way: tuple[str, str]
) -> torch.Tensor:
    """Return the source's segments as the generator makes them the target's. Shape: [B, 80, 80] dB -> the same."""
    source, target = (known.devices[name] for name in way)
    settings = trained.generator.settings
    condition = torch.from_numpy(condition_db(source, target, settings.condition))[None]
    normalised, offset_db = normalise(log_mel, trained.normalisation, settings.level)
    offset_db = offset_db + (level_difference_db(source, target) or 0.0)
    return denormalise(trained.generator(normalised, condition), offset_db, trained.normalisation)


def fine_tune(
    trained: TrainedGenerator, pairs: Together, known: Ingredients, bands: NDArray[np.bool_], steps: int
) -> None:
    """Lower the distance to what the other device recorded, in both directions by turns."""
    ways = (tuple(pairs.log_mel), tuple(pairs.log_mel)[::-1])
    generator = trained.generator.requires_grad_(True).train()
    optimiser = torch.optim.Adam(generator.parameters(), _RATE)
    random = np.random.default_rng(0)
    for step in range(steps):
        source, target = ways[step % 2]
        rows = random.integers(len(pairs.recordings), size=_BATCH)
        given, truth = (torch.from_numpy(pairs.log_mel[name][rows]) for name in (source, target))
        loss = log_spectral_loss(converted(trained, given, known, (source, target))[:, bands], truth[:, bands])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    generator.requires_grad_(False).eval()


def main() -> None:
    """Measure before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", type=Path, required=True, help="as `train_film_gan.py` makes")
    parser.add_argument("--set", default="pairs/dance_studio")
    parser.add_argument("--steps", type=int, default=120)
    options = parser.parse_args()
    torch.set_num_threads(1)
    real = read_set(options.data, options.set)
    learned_from, measured_on = halves(real)
    known = learn_devices(learned_from, SHIPPED_REFINER)
    pairs, measured = read_together(learned_from), read_together(measured_on)
    ways = [tuple(real.devices), tuple(real.devices)[::-1]]
    trained = load_generator(options.checkpoint)

    def say(name: str) -> None:
        cells = []
        for source, target in ways:
            given, truth = (torch.from_numpy(measured.log_mel[each]) for each in (source, target))
            if name.startswith("film_gan"):
                with torch.inference_mode():
                    parts = given.split(_BATCH)
                    result = torch.cat([converted(trained, part, known, (source, target)) for part in parts])
            else:
                own = replace(known, source=source, targets=(target,))
                result = torch.from_numpy(convert_segments(name, given.numpy(), (target,), own)[target])
            cells.append(f"{log_spectral_loss(result[:, real.bands], truth[:, real.bands]).item():.2f}")
        print(f"{name}: {', '.join(f'{cell} dB to {target}' for cell, (_, target) in zip(cells, ways, strict=True))}")

    for name in ("no_conversion", "eq", "eq_noise", "film_gan"):
        say(name)
    started = time.process_time()
    fine_tune(trained, pairs, known, real.bands, options.steps)
    print(f"{options.steps} steps on {len(pairs.recordings)} segments: {time.process_time() - started:.0f} s")
    say("film_gan, fine-tuned")


if __name__ == "__main__":
    main()
