"""The norm of all gradients of a network, which trainings note at each step."""

import torch
from torch import Tensor, nn


def gradient_norm(network: nn.Module) -> Tensor:
    """Return the norm of all gradients together, in few calls. `torch.nn.utils.get_total_norm` needs torch 2.6."""
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    total: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return total
