"""Batch normalisation over the rows of all ranks, on CPU and CUDA; torch's `SyncBatchNorm` is for CUDA alone."""

from typing import Any

import torch
from torch import Tensor, nn

from umc_cli.training.ranks import Ranks


class _Sum(torch.autograd.Function):
    """The sum over the ranks, whose losses are added: so are the gradients."""

    @staticmethod
    def forward(context: Any, values: Tensor, ranks: Ranks) -> Tensor:
        context.ranks = ranks
        return ranks.sum(values.clone())

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return context.ranks.sum(gradient.clone()), None


class _BatchNormOfAllRanks(nn.BatchNorm2d):
    """Has the weights and running values of the one whose place it takes."""

    def __init__(self, plain: nn.BatchNorm2d, ranks: Ranks) -> None:
        super().__init__(plain.num_features, plain.eps, plain.momentum)
        self.ranks = ranks
        self.weight, self.bias = plain.weight, plain.bias
        self.running_mean, self.running_var = plain.running_mean, plain.running_var
        self.num_batches_tracked = plain.num_batches_tracked

    def forward(self, x: Tensor) -> Tensor:
        """Shape: [B, C, H, W] -> the same; B is this rank's."""
        if not self.training:
            return super().forward(x)
        exact = x.float()
        count = exact.new_tensor([exact.numel() / exact.shape[1]])
        total: Tensor = _Sum.apply(torch.cat([exact.sum(dim=(0, 2, 3)), count]), self.ranks)
        n = total[-1].detach()
        mean = total[:-1] / n
        centred = exact - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum(dim=(0, 2, 3)), self.ranks) / n
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        result: Tensor = (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)
        return result


def normalise_over_ranks(network: nn.Module, ranks: Ranks) -> None:
    """Let the batch normalisations of `network` take mean and variance over all ranks; weights and names stay."""
    for module in list(network.modules()) if ranks.count > 1 else ():
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, _BatchNormOfAllRanks(child, ranks))
