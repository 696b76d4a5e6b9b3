"""Everything that can be set of the adversarial training, and the presets."""

from typing import Annotated

from pydantic import Field, model_validator

from umc_cli.config import LEARNING, MACHINE, RECORDINGS, Option
from umc_cli.conversion.generator_settings import NETWORKS, GeneratorSettings
from umc_cli.precision import Precision
from umc_cli.training.schedule import KeepSettings, PositiveInt, ScheduleSettings

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class AdversarialSettings(GeneratorSettings, ScheduleSettings, KeepSettings):
    """Settings of the adversarial training. What the paper states is the preset `paper` (docs/method.md)."""

    ndf: Annotated[PositiveInt, Option(NETWORKS)] = 64
    """Channels after a discriminator's first convolution."""
    batch_size: Annotated[int, Field(ge=2), Option(LEARNING)] = 400
    """Segments converted in a step: both sides of half as many pairs of devices."""
    micro_batch_size: Annotated[int | None, Field(ge=2), Option(LEARNING, default="the whole batch")] = None
    """Segments computed at once, to bound memory; changes results by rounding only."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False), Option(LEARNING)] = 5e-4
    """Initial learning rate (Adam)."""
    learning_rate_epochs: Annotated[PositiveInt, Option(LEARNING)] = 30
    """Epochs after which the learning rate is divided by learning_rate_divisor."""
    learning_rate_divisor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 10.0
    """What the learning rate is divided by."""
    beta1: BelowOne = 0.5
    """Adam's decay of the mean of the gradients."""
    beta2: BelowOne = 0.999
    """Adam's decay of the mean of their squares."""
    adversarial_weight: Weight = 1.0
    """Weight of the adversarial loss."""
    cycle_weight: Annotated[Weight, Option(LEARNING)] = 10.0
    """Weight of the cycle-consistency loss."""
    identity_weight: Annotated[Weight, Option(LEARNING)] = 0.0
    """Weight of the loss of converting a device's segments to itself; CycleGAN's code has 5."""
    buffer_size: Annotated[int, Field(ge=0), Option(LEARNING)] = 50
    """Converted segments in each discriminator's image buffer."""
    average_decay: Annotated[BelowOne, Option(LEARNING)] = 0.999
    """Decay per step of the moving average of the generator's weights, which is what a checkpoint holds; 0: the plain
    weights."""
    held_out_share: Annotated[BelowOne, Option(RECORDINGS)] = 0.05
    """Share of the recordings to validate on; 0: validations measure on what is trained on."""
    precision: Annotated[Precision, Option(MACHINE, words=("auto", "fp32", "bf16"))] = Precision.AUTO
    """fp32, bf16 or auto (bf16 where the machine supports it)."""
    seed: Annotated[int, Field(ge=0), Option(LEARNING)] = 0
    """Random seed."""

    @model_validator(mode="after")
    def _check(self) -> "AdversarialSettings":
        if self.batch_size % 2 or (self.micro_batch_size or 0) % 2:
            raise ValueError("batch sizes must be even: a step converts both sides of every pair")
        if self.precision is Precision.FP16:
            raise ValueError("training takes fp32, bf16 or auto: fp16 would lose small gradients")
        return self

    @property
    def generator(self) -> GeneratorSettings:
        """Return the settings that the generator is built with."""
        return GeneratorSettings.model_validate(self.model_dump(include=set(GeneratorSettings.model_fields)))

    @property
    def loss_weights(self) -> dict[str, float]:
        """Return the weights of the generator's losses by the names of the losses."""
        return {
            "adversarial_loss": self.adversarial_weight,
            "cycle_consistency_loss": self.cycle_weight,
            "identity_loss": self.identity_weight,
        }

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        return self.learning_rate / self.learning_rate_divisor ** (epoch // self.learning_rate_epochs)


ADVERSARIAL_PRESETS: dict[str, AdversarialSettings] = {
    "paper": AdversarialSettings(
        level="lost",
        film_encoder="paper",
        condition="shape_and_level",
        average_decay=0.0,
        held_out_share=0.0,
        keep="last",
    ),
    "cpu": AdversarialSettings(
        ngf=32,
        n_blocks=6,
        batch_size=16,
        epochs=30,
        learning_rate_epochs=10,
    ),
    "smoke": AdversarialSettings(
        ngf=8,
        n_blocks=2,
        ndf=8,
        film_widths=(8, 8, 8),
        film_hidden=32,
        batch_size=8,
        max_steps=40,
        log_every=5,
        validate_every=20,
        save_every=20,
    ),
}
"""`paper`: as published. `cpu`: the cured generator, small enough for two processors. `smoke`: only shows that all
parts work."""
