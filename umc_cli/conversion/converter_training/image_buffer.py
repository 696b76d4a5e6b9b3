"""A history of converted segments for a discriminator (Shrivastava et al. 2017; CycleGAN's `ImagePool`)."""

import torch
from torch import Tensor

from umc_cli.errors import SettingsError


class ImageBuffer:
    """Keeps up to `size` segments. Each new one is stored and returned until the buffer is full; from then on it is
    returned itself with probability 1/2, and else takes the place of a random old one, which is returned.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._images: list[Tensor] = []

    def swap(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Return what the discriminator should see in the place of `images`.

        Shape: [B, H, W] -> the same. `random` is a generator on the CPU. A buffer of size 0 returns its input.
        """
        if self.size == 0:
            return images
        returned = []
        for image in images.detach():
            if len(self._images) < self.size:
                self._images.append(image.clone())
                returned.append(image)
            elif torch.rand((), generator=random) < 0.5:
                place = int(torch.randint(self.size, (), generator=random))
                returned.append(self._images[place])
                self._images[place] = image.clone()
            else:
                returned.append(image)
        return torch.stack(returned)

    def state(self) -> Tensor | None:
        """Return what the buffer holds, oldest place first, [n, H, W]; None while it is empty."""
        return torch.stack(self._images) if self._images else None

    def load_state(self, state: Tensor | None, device: torch.device) -> None:
        """Hold what `state` of another buffer returned.

        Raises:
            SettingsError: that buffer was larger.
        """
        images = [] if state is None else list(state.to(device).clone())
        if len(images) > self.size:
            raise SettingsError(
                f"the saved image buffer holds {len(images)} segments, this one {self.size}", "keep buffer_size"
            )
        self._images = images
