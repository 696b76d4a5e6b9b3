import pytest
import torch

from umc_cli.conversion.converter_training.losses import (
    adversarial_loss,
    cycle_consistency_loss,
    discriminator_loss,
    identity_loss,
    weighted_sum,
)


def test_adversarial_loss_is_zero_where_all_is_taken_for_real() -> None:
    assert adversarial_loss(torch.ones(2, 3, 3)) == 0
    assert adversarial_loss(torch.tensor([[[3.0, 1.0]]])) == 2  # (4 + 0) / 2


def test_discriminator_loss_wants_one_for_real_and_zero_for_converted() -> None:
    assert discriminator_loss(torch.ones(2, 3, 3), torch.zeros(4, 3, 3)) == 0
    assert discriminator_loss(torch.zeros(2, 3, 3), torch.full((4, 3, 3), 2.0)) == 2.5  # (1 + 4) / 2


@pytest.mark.parametrize("loss", [cycle_consistency_loss, identity_loss])
def test_cycle_and_identity_are_mean_absolute_differences(loss) -> None:  # type: ignore[no-untyped-def]
    original = torch.zeros(2, 1, 2)
    assert loss(torch.tensor([[[1.0, -1.0]], [[2.0, 0.0]]]), original) == 1


def test_weights_have_the_names_of_the_losses() -> None:
    losses = {"cycle_consistency_loss": torch.tensor(2.0), "adversarial_loss": torch.tensor(3.0)}
    assert weighted_sum(losses, {"adversarial_loss": 1, "cycle_consistency_loss": 10, "identity_loss": 5}) == 23
    with pytest.raises(KeyError, match="adversarial_loss"):
        weighted_sum(losses, {"cycle_consistency_loss": 10})
