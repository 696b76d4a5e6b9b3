"""A history of converted segments for a discriminator (Shrivastava et al. 2017; CycleGAN's `ImagePool`)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from umc_cli.errors import SettingsError
from umc_cli.training.row_numbers import row_numbers


class ImageBuffer:
    """Keeps up to `size` segments. Each new one is stored and returned until the buffer is full; from then on it is
    returned itself with probability 1/2, and else takes the place of a random old one, which is returned.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: Tensor | None = None
        """[n, H, W], oldest place first; None while it is empty."""

    def __len__(self) -> int:
        return 0 if self.images is None else len(self.images)

    def swap(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Return what the discriminator should see in the place of `images`.

        Shape: [B, H, W] -> the same. `random` is a generator on the CPU. A buffer of size 0 returns its input.
        """
        return swap([self], images, [0] * len(images), random)

    def state(self) -> Tensor | None:
        """Return what the buffer holds, oldest place first, [n, H, W]; None while it is empty."""
        return None if self.images is None else self.images.clone()

    def load_state(self, state: Tensor | None, device: torch.device) -> None:
        """Hold what `state` of another buffer returned.

        Raises:
            SettingsError: that buffer was larger.
        """
        if state is not None and len(state) > self.size:
            raise SettingsError(
                f"the saved image buffer holds {len(state)} segments, this one {self.size}", "keep buffer_size"
            )
        self.images = None if state is None else state.to(device).clone()


def swap(buffers: Sequence[ImageBuffer], images: Tensor, of_buffer: Sequence[int], random: torch.Generator) -> Tensor:
    """Let each of the images pass through its buffer; the buffers take turns, each with its images in order.

    Shape: [B, H, W], B numbers of buffers -> [B, H, W]. Where an image goes is decided on the host, by numbers of rows
    in all that is there; the images themselves move at once.
    """
    images = images.detach()
    there = [buffer.images for buffer in buffers if buffer.images is not None]
    first_new = sum(map(len, there))
    returned = [*range(first_new, first_new + len(images))]
    kept: list[list[int]] = []
    first = 0
    for number, buffer in enumerate(buffers):
        places = [*range(first, first + len(buffer))]
        first += len(buffer)
        rows = [row for row, found in enumerate(of_buffer) if found == number] if buffer.size else []
        for row in rows:
            if len(places) < buffer.size:
                places.append(first_new + row)
            elif torch.rand((), generator=random) < 0.5:
                place = int(torch.randint(buffer.size, (), generator=random))
                returned[row], places[place] = places[place], first_new + row
        kept.append(places)
    everything = torch.cat([*there, images])
    counts = [len(places) for places in kept]
    numbers = row_numbers([number for places in kept for number in places], images.device)
    for buffer, now in zip(buffers, everything[numbers].split(counts), strict=True):  # type: ignore[no-untyped-call]
        buffer.images = now if len(now) else None
    return everything[row_numbers(returned, images.device)]
