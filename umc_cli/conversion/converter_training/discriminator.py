"""The discriminators: CycleGAN's 16x16 PatchGAN (`n_layers=1`), one per device (paper, section 3.1).

Conv4 stride 2, LeakyReLU | Conv4, InstanceNorm, LeakyReLU | Conv4: every score sees 16 x 16 values of the input.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from umc_cli.training.row_numbers import places_of, row_numbers

_LEAK = 0.2
_INITIAL_STD = 0.02
"""Standard deviation of CycleGAN's initial weights."""


class Discriminator(nn.Module):
    """Scores how much patches of a spectrogram look like recordings of one device: 1 real, 0 converted."""

    def __init__(self, ndf: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *[nn.Conv2d(1, ndf, 4, stride=2, padding=1), nn.LeakyReLU(_LEAK)],
            *[nn.Conv2d(ndf, 2 * ndf, 4, padding=1), nn.InstanceNorm2d(2 * ndf), nn.LeakyReLU(_LEAK)],
            nn.Conv2d(2 * ndf, 1, 4, padding=1),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, 0.0, _INITIAL_STD)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, normalised: Tensor) -> Tensor:
        """Shape: [B, H, W] without unit -> [B, H/2 - 2, W/2 - 2] scores; 80 x 80 gives 38 x 38."""
        scores: Tensor = self.layers(normalised.unsqueeze(1))
        return scores.squeeze(1)


class Discriminators(nn.Module):
    """One discriminator per device. A batch of many devices' segments takes one pass per device that is in it.

    A device that sits idle in a step gets no gradient at all (None, not zero), so that Adam leaves its weights and its
    running means alone: a gradient of zero would still move the weights by the momentum.
    """

    def __init__(self, n_devices: int, ndf: int) -> None:
        super().__init__()
        self.of_device = nn.ModuleList(Discriminator(ndf) for _ in range(n_devices))

    def forward(self, normalised: Tensor, devices: Sequence[int]) -> Tensor:
        """Score every segment with the discriminator of its device.

        Shape: [B, H, W] without unit, B device indices -> [B, H/2 - 2, W/2 - 2].
        """
        order = sorted(range(len(devices)), key=devices.__getitem__)
        counts = {device: devices.count(device) for device in sorted(set(devices))}
        parts = torch.split(normalised[row_numbers(order, normalised.device)], list(counts.values()))
        scores = torch.cat([self.of_device[device](part) for device, part in zip(counts, parts, strict=True)])
        return scores[row_numbers(places_of(order), scores.device)]
