"""How good a generator is on held-out segments, where no paired recording says what is right.

Two errors in dB, both zero for a perfect converter: how much of a segment is lost there and back, and how far the mean
change per band lies from the difference that was asked for. Neither sees whether the result looks like a recording;
adversarial losses do, but they are no yardstick, as the discriminators change too.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from umc_cli.conversion.band_interpolation import to_log_mel_bands, trusted_log_mel_bands
from umc_cli.evaluation.conversion_metrics import response_error
from umc_cli.response.device import Device
from umc_cli.response.difference import fr_difference_db


def cycle_error_db(reconstructed: Tensor, original: Tensor) -> float:
    """Return the mean absolute difference after there and back. Shape: [B, 80, 80] dB twice -> dB."""
    return float((reconstructed - original).abs().mean())


def response_error_db(
    converted: Tensor, original: Tensor, pairs: Sequence[tuple[int, int]], devices: Sequence[Device]
) -> float:
    """Return the RMS over trusted bands of (mean change - requested difference), averaged over the pairs of devices.

    Shape: [B, 80, 80] dB twice; for every segment the indices of its own device and of the other in `devices`.
    The mean change is over a pair's segments and frames. Both curves have their mean over the trusted bands removed:
    the difference is one of shape, and level stands apart. Bands without any trusted one in common count as 0.
    """
    by_pair: dict[tuple[int, int], list[int]] = {pair: [] for pair in sorted(set(pairs))}
    for row, pair in enumerate(pairs):
        by_pair[pair].append(row)
    after, before = converted.cpu().numpy(), original.cpu().numpy()
    errors_db = []
    for (own, other), rows in by_pair.items():
        source, target = devices[own], devices[other]
        difference_db = to_log_mel_bands(fr_difference_db(source, target), torch.device("cpu")).squeeze(1).numpy()
        trusted = trusted_log_mel_bands(source, target)
        if trusted.any():
            errors_db.append(response_error(after[rows], before[rows], difference_db, trusted).shape_db)
        else:
            errors_db.append(0.0)
    return float(np.mean(errors_db))
