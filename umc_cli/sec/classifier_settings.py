"""Everything that can be set of the classifier's training, and the presets."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from umc_cli.config import LEARNING, MACHINE, RECORDINGS, Option
from umc_cli.precision import Precision
from umc_cli.training.schedule import KeepSettings, PositiveInt, ScheduleSettings

Unified = Literal["best", "paper"]
"""`best`: the best converter whose inputs are available; `unified-synth` converts to a set of invented devices.
`paper`: Unified-MC-Real and Unified-MC-Synth: the paper's generator (film_gan); `unified-synth` draws the difference of
section 3.3 anew for every sample."""

Share = Annotated[float, Field(ge=0, le=1)]


class SecSettings(ScheduleSettings, KeepSettings):
    """Settings of the classifier's training. What the paper states (section 4.2) is the preset `paper`."""

    epochs: PositiveInt = 200
    # A validation costs little beside an epoch, and small sets have few steps.
    validate_every: PositiveInt | None = None
    backbone: Annotated[str, Option(LEARNING, words=("resnet50", "cnn", "strided"))] = "resnet50"
    """resnet50, cnn, strided, or a classifier of torchvision."""
    batch_size: Annotated[int, Field(ge=2), Option(LEARNING)] = 100
    """Segments in a step."""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False), Option(LEARNING)] = 1e-3
    """Initial learning rate (AdamW)."""
    learning_rate_epochs: PositiveInt = 25
    """Epochs after which the learning rate is divided."""
    learning_rate_divisor: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 10.0
    """What the learning rate is divided by."""
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    """Weight decay (AdamW)."""
    converted_share: Annotated[Share, Option()] = 0.5
    """Probability that a sample is converted to another device; the others are left unaltered."""
    unified: Annotated[Unified, Option()] = "best"
    """Unified methods: best (the best converter whose inputs are available) or paper (film_gan; unified-synth draws a
    piecewise difference anew for every sample)."""
    balance_classes: Annotated[bool, Option(LEARNING)] = True
    """Weigh every class the same, however many segments it has."""
    held_out_share: Annotated[float, Field(ge=0, lt=1), Option(RECORDINGS)] = 0.1
    """Share of the source's recordings that validates, and so decides which weights are best, instead of being trained
    on; 0: none, with --keep last."""
    precision: Annotated[Precision, Option(MACHINE, words=("auto", "fp32", "bf16"))] = Precision.AUTO
    """fp32, bf16 or auto (bf16 where the machine supports it)."""
    seed: Annotated[int, Field(ge=0), Option(LEARNING)] = 0
    """Random seed."""

    @model_validator(mode="after")
    def _check(self) -> "SecSettings":
        if self.precision is Precision.FP16:
            raise ValueError("training takes fp32, bf16 or auto: fp16 would lose small gradients")
        return self

    def learning_rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, counted from 0."""
        return float(self.learning_rate / self.learning_rate_divisor ** (epoch // self.learning_rate_epochs))


SEC_PRESETS: dict[str, SecSettings] = {
    "paper": SecSettings(unified="paper", balance_classes=False, held_out_share=0.0, keep="last"),
    "cpu": SecSettings(
        backbone="cnn", epochs=30, batch_size=64, learning_rate=2e-3, learning_rate_epochs=12, learning_rate_divisor=5
    ),
    "smoke": SecSettings(
        backbone="cnn", epochs=100, max_steps=20, batch_size=16, log_every=5, validate_every=10, save_every=10
    ),
}
"""`paper`: as published. `cpu`: minutes on two processors. `smoke`: seconds, to see that all works."""
