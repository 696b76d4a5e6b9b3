"""Size of the generator, and the presets."""

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from umc_cli.config import Option, Settings

SHIPPED_GENERATOR = Path(str(resources.files("umc_cli") / "assets" / "film_gan.safetensors"))
"""Comes with the package; docs/shipped-film-gan.md says what it was trained on and how well it does."""

FilmEncoderKind = Literal["paper", "sized", "none"]
"""`paper`: as described, and so blind to the size of the difference, which the norms remove; of its mean over the bands
the zero padding at the borders lets something through. `sized`: the MLP also gets the difference itself, that is, what
the norms removed. `none`: no condition, gamma 1 and beta 0: a generator for one pair of devices, as in the predecessor
[11]."""

ConditionKind = Literal["shape", "shape_and_level"]
"""`shape`: the difference of the responses, which are 0 dB at 1 kHz in every record. `shape_and_level`: with the
difference of the sensitivities added, as impulses that two devices recorded show it (paper, section 4.1)."""

LevelKind = Literal["lost", "carried"]
"""The level of a segment: see `conversion.normalisation`."""

NETWORKS = "Networks"


class GeneratorSettings(Settings):
    """Size of the generator and the cures of the paper's blind spots; stored in its checkpoint."""

    ngf: Annotated[int, Field(ge=1, le=1024), Option(NETWORKS)] = 64
    """Channels after the generator's first convolution; its residual blocks have four times as many."""
    n_blocks: Annotated[int, Field(ge=1, le=64), Option(NETWORKS)] = 9
    """Residual blocks of the generator."""
    level: Annotated[LevelKind, Option(NETWORKS)] = "carried"
    """Level of a segment: carried around the generator, or lost as in the paper."""
    film_encoder: Annotated[FilmEncoderKind, Option(NETWORKS, words=("sized", "paper"))] = "sized"
    """Encoder of the difference: sized or paper."""
    # A checkpoint that does not say it is of a version that knew nothing but the shape.
    condition: Annotated[ConditionKind, Option(NETWORKS)] = "shape"
    """What the encoder is told of two devices: the difference of their responses, or that of their levels too."""
    film_widths: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=3, max_length=3)] = (
        32,
        64,
        64,
    )
    """Channels of the encoder's three convolutions."""
    film_kernel: Literal[1, 3, 5, 7, 9, 11] = 5
    """Bands that each convolution of the encoder sees."""
    film_hidden: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Width of the encoder's hidden layer."""


GENERATOR_PRESETS: dict[str, GeneratorSettings] = {
    "paper": GeneratorSettings(level="lost", film_encoder="paper", condition="shape_and_level"),
    "level_aware": GeneratorSettings(level="carried", film_encoder="sized"),
}
"""`paper`: as published, blind to the level of a segment and to the size of the difference. `level_aware`: cured; it is
told the shape alone, as the level goes around it."""
