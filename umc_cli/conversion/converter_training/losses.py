"""The losses of adversarial training. Weights stand in a dict with the same keys as the losses."""

from collections.abc import Mapping

from torch import Tensor


def adversarial_loss(fake_scores: Tensor) -> Tensor:
    """Return how far converted segments are from being taken for real: mean (score - 1)^2 (least squares, [16])."""
    return (fake_scores.float() - 1).square().mean()


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Return half of mean (real - 1)^2 plus mean fake^2, as in CycleGAN."""
    return 0.5 * ((real_scores.float() - 1).square().mean() + fake_scores.float().square().mean())


def cycle_consistency_loss(reconstructed: Tensor, original: Tensor) -> Tensor:
    """Return the mean absolute difference after there and back. Shape: [B, H, W] twice, without unit -> []."""
    return (reconstructed.float() - original).abs().mean()


def identity_loss(unchanged: Tensor, original: Tensor) -> Tensor:
    """Return the mean absolute difference where nothing was to change. Shape: [B, H, W] twice, without unit -> []."""
    return (unchanged.float() - original).abs().mean()


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Return the sum of all losses, each times the weight of the same name.

    Raises:
        KeyError: a loss has no weight.
    """
    terms = [weights[name] * loss for name, loss in losses.items()]
    return sum(terms[1:], start=terms[0])
