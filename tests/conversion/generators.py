"""Generators with random weights, the same for the same seed."""

from pathlib import Path

import torch

from umc_cli.conversion.generator import Generator
from umc_cli.conversion.generator_checkpoint import save_generator
from umc_cli.conversion.generator_settings import GENERATOR_PRESETS
from umc_cli.conversion.normalisation import Normalisation

NORMALISATION = Normalisation(mean_db=-45.0, std_db=18.0)
"""Of the order of what recordings of rooms have."""


def small_generator(preset: str = "level_aware", seed: int = 0) -> Generator:
    """Return a generator with the layers of the real one but few channels and two residual blocks."""
    torch.manual_seed(seed)
    small = {"ngf": 8, "n_blocks": 2, "film_widths": (8, 8, 8), "film_hidden": 32}
    generator = Generator(GENERATOR_PRESETS[preset].model_copy(update=small))
    return generator.requires_grad_(False).eval()


def write_small_checkpoint(path: Path, preset: str = "level_aware", seed: int = 0) -> Path:
    save_generator(path, small_generator(preset, seed), NORMALISATION)
    return path


def log_mel_batch(n_segments: int, seed: int = 0) -> torch.Tensor:
    """Return [n_segments, 80, 80] in dB, between about -95 and -5."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n_segments, 80, 80, generator=generator) * 60 - 80 + torch.arange(n_segments).view(-1, 1, 1)


def tilt_db(size_db: float) -> torch.Tensor:
    """Return [1, 128]: a difference that rises evenly by `size_db` over the bands, 0 on average."""
    return torch.linspace(-size_db / 2, size_db / 2, 128).unsqueeze(0)
