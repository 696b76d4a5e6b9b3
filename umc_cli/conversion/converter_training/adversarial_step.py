"""Adversarial training of the generator on unpaired segments of any number of devices (paper, section 3.1).

The generator and the discriminators work on normalised segments. Where the level is carried around the generator, the
discriminators see segments without their level too: it is nothing that the generator could set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from umc_cli.conversion.converter_training.discriminator import Discriminators
from umc_cli.conversion.converter_training.image_buffer import ImageBuffer, swap
from umc_cli.conversion.converter_training.losses import (
    adversarial_loss,
    cycle_consistency_loss,
    discriminator_loss,
    identity_loss,
    weighted_sum,
)
from umc_cli.conversion.converter_training.translators import Translator
from umc_cli.runtime import autocast
from umc_cli.training.gradient_norm import gradient_norm
from umc_cli.training.moving_average import follow
from umc_cli.training.ranks import ONE_PROCESS, Ranks
from umc_cli.training.row_numbers import row_numbers
from umc_cli.training.run import check_finite

LOSS_NAMES = ("adversarial_loss", "cycle_consistency_loss", "identity_loss", "discriminator_loss")
NORM_NAMES = ("generator_gradient_norm", "discriminator_gradient_norm")

_YOUNG_STEPS = 9


@dataclass(frozen=True)
class AdversarialBatch:
    """The segments of one step, or some of them."""

    normalised: Tensor
    """[B, 80, 80], without unit."""
    own: Sequence[int]
    """Index of the device that recorded each segment."""
    other: Sequence[int]
    """Index of the device that each segment is to be converted to."""

    def rows(self, chosen: Sequence[int]) -> "AdversarialBatch":
        """Return some of the segments."""
        if len(chosen) == len(self.own):
            return self
        own, other = ([devices[row] for row in chosen] for devices in (self.own, self.other))
        return AdversarialBatch(self.normalised[row_numbers(chosen, self.normalised.device)], own, other)


@dataclass(frozen=True)
class Networks:
    """What is trained, and by what."""

    translator: Translator
    average: Translator
    """Moving average of the translator's weights."""
    discriminators: Discriminators
    translator_optimiser: torch.optim.Adam
    discriminator_optimiser: torch.optim.Adam


@dataclass(frozen=True)
class StepSettings:
    """What a step needs to know beside the networks."""

    loss_weights: dict[str, float]
    average_decay: float
    autocast_dtype: torch.dtype | None
    """None computes in fp32."""


def training_step(
    networks: Networks,
    batch: AdversarialBatch,
    parts: Sequence[Sequence[int]],
    buffers: Sequence[ImageBuffer],
    random: torch.Generator,
    settings: StepSettings,
    index: int,
    ranks: Ranks = ONE_PROCESS,
) -> dict[str, float]:
    """Do step `index` (from 0) of the generator and of all discriminators, and return its losses by name.

    Every segment goes to the other device and back; both directions of all pairs are one batch. `parts`: the rows of
    the batch that are computed at once; their gradients are added, and the buffers swap once, so that the parts change
    the result by rounding only. `buffers`: one per device; `random`: on the CPU. Several `ranks` are given equal
    arguments; each computes its share of every part, and all of them do the same step.

    Raises:
        NonFiniteLossError: a loss or a gradient is not finite; no weight has changed then.
    """
    networks.translator_optimiser.zero_grad()
    networks.discriminator_optimiser.zero_grad()
    totals: dict[str, Tensor] = {}

    def add(losses: dict[str, Tensor], share: float) -> None:
        for name, loss in losses.items():
            totals[name] = totals.get(name, 0) + share * loss.detach()

    mine = [list(part[ranks.share(len(part))]) for part in parts]
    numbers = [row_numbers(rows, batch.normalised.device) for rows in mine]
    everything = torch.zeros_like(batch.normalised)
    for rows, places in zip(mine, numbers, strict=True):
        share = len(rows) / len(batch.own)
        losses, everything[places] = _translator_losses(networks, batch.rows(rows), settings)
        (share * weighted_sum(losses, settings.loss_weights)).backward()  # type: ignore[no-untyped-call]
        add(losses, share)
    # All ranks keep equal buffers, of all that was converted.
    shown = swap(buffers, ranks.sum(everything), batch.other, random)
    for rows, places in zip(mine, numbers, strict=True):
        share = len(rows) / len(batch.own)
        losses = _discriminator_losses(networks, batch.rows(rows), shown[places], settings)
        (share * losses["discriminator_loss"]).backward()  # type: ignore[no-untyped-call]
        add(losses, share)
    ranks.sum_gradients([*networks.translator.parameters(), *networks.discriminators.parameters()])
    totals = dict(zip(totals, ranks.sum(torch.stack(list(totals.values()))), strict=True))
    totals["generator_gradient_norm"] = gradient_norm(networks.translator)
    totals["discriminator_gradient_norm"] = gradient_norm(networks.discriminators)
    results = dict(zip(totals, torch.stack(list(totals.values())).tolist(), strict=True))
    check_finite(results, index)
    networks.translator_optimiser.step()
    networks.discriminator_optimiser.step()
    average, weights = networks.average.parameters(), networks.translator.parameters()
    follow(average, weights, settings.average_decay, index, _YOUNG_STEPS)
    return results


def _translator_losses(
    networks: Networks, part: AdversarialBatch, settings: StepSettings
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the generator's losses and the converted segments [B, 80, 80], cut off from the graph."""
    networks.discriminators.requires_grad_(False)
    with autocast(part.normalised.device, settings.autocast_dtype):
        converted = networks.translator(part.normalised, part.own, part.other)
        back = networks.translator(converted, part.other, part.own)
        scores = networks.discriminators(converted, part.other)
        losses = {
            "adversarial_loss": adversarial_loss(scores),
            "cycle_consistency_loss": cycle_consistency_loss(back, part.normalised),
        }
        if settings.loss_weights["identity_loss"]:
            unchanged = networks.translator(part.normalised, part.own, part.own)
            losses["identity_loss"] = identity_loss(unchanged, part.normalised)
    return losses, converted.detach().float()


def _discriminator_losses(
    networks: Networks, part: AdversarialBatch, shown: Tensor, settings: StepSettings
) -> dict[str, Tensor]:
    networks.discriminators.requires_grad_(True)
    with autocast(part.normalised.device, settings.autocast_dtype):
        # Real and converted segments together: one pass per device.
        both = torch.cat([part.normalised, shown])
        real_scores, fake_scores = networks.discriminators(both, [*part.own, *part.other]).split(len(part.own))
        return {"discriminator_loss": discriminator_loss(real_scores, fake_scores)}
