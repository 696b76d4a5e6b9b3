"""A converter's segments, overlapped and cross-faded into one spectrogram of any length."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from umc_cli.audio.log_mel_settings import FLOOR_DB, N_FRAMES

SEGMENT_HOP = N_FRAMES // 2
"""Frames from one segment to the next."""
_EDGE = 10
"""Frames at either end of a segment that are not used where another segment has them: there converters see less."""
_LEAST = 1e-9
"""Weight of the edge; it counts where no other segment is."""

ConvertSegments = Callable[[Tensor, Sequence[str]], Mapping[str, Tensor]]
"""From [B, 80, 80] (mel bands, frames) in dB to the same for each of the targets."""


def n_segments(n_frames: int) -> int:
    """Return how many segments a recording of so many frames has."""
    return max(1, -(-(n_frames - N_FRAMES) // SEGMENT_HOP) + 1)


def blended(levels_db: Tensor, convert: ConvertSegments, targets: Sequence[str]) -> dict[str, Tensor]:
    """Return what every target would have recorded, frame by frame.

    Shape: [n, 80] (frames, mel bands) dB -> the same for each target. The first segment begins with the first frame;
    the last one is filled with silence.
    """
    count = n_segments(len(levels_db))
    padded = levels_db.new_full(((count - 1) * SEGMENT_HOP + N_FRAMES, levels_db.shape[1]), FLOOR_DB)
    padded[: len(levels_db)] = levels_db
    segments = padded.unfold(0, N_FRAMES, SEGMENT_HOP)  # [count, 80 bands, 80 frames], a view
    weights = _weights()
    total = levels_db.new_zeros(len(padded))
    for first in range(0, count * SEGMENT_HOP, SEGMENT_HOP):
        total[first : first + N_FRAMES] += weights
    results = {}
    for target, converted in convert(segments.contiguous(), targets).items():
        weighted = converted.mT * weights[:, None]  # [count, frames, bands]
        sums = torch.zeros_like(padded)
        for number, part in enumerate(weighted):
            first = number * SEGMENT_HOP
            sums[first : first + N_FRAMES] += part
        results[target] = (sums / total[:, None])[: len(levels_db)]
    return results


@lru_cache(maxsize=1)
def _weights() -> Tensor:
    """Return the weight of each frame of a segment: a ramp up, a plain, a ramp down; with the neighbours', 1."""
    ramp = ((torch.arange(SEGMENT_HOP) - _EDGE + 0.5) / (SEGMENT_HOP - 2 * _EDGE)).clamp(0, 1)
    return torch.cat([ramp, 1 - ramp]).clamp_min(_LEAST)
