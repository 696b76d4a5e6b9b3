"""What an optimiser keeps, as named tensors and back."""

import torch
from torch import nn

from umc_cli.training.optimiser_state import load_optimiser_tensors, optimiser_tensors


def stepped(network: nn.Module) -> torch.optim.Adam:
    optimiser = torch.optim.Adam(network.parameters())
    for weight in network.parameters():
        weight.grad = torch.full_like(weight, 0.5)
    optimiser.step()
    return optimiser


def test_moments_come_back_in_the_layout_of_their_weights() -> None:
    """Files know one layout; in another than its weight's, a moment is updated by a kernel of its own."""
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    kept = {name: value.contiguous() for name, value in optimiser_tensors(stepped(network)).items()}
    loaded = stepped(network)
    load_optimiser_tensors(loaded, kept)
    assert {name for name, value in optimiser_tensors(loaded).items() if not torch.equal(value, kept[name])} == set()
    moment = loaded.state[network.weight]["exp_avg"]
    assert moment.stride() == network.weight.stride() != kept["0.exp_avg"].stride()
    moment.zero_()
    assert kept["0.exp_avg"].any()  # nothing is shared with what was given
