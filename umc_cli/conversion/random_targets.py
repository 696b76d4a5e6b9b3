"""Samples of a batch converted to devices that are drawn at random."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from umc_cli.conversion.converters.contract import Converter, ConvertsToEach
from umc_cli.conversion.rows_by_key import rows_by_key
from umc_cli.training.row_numbers import places_of, row_numbers

_DEVICES_A_BATCH = 8
"""Samples of a batch share so many devices at most: a converter may be called once for each."""


def convert_to_random_targets(log_mel: Tensor, converters: Mapping[str, Converter], random: torch.Generator) -> Tensor:
    """Return every sample as a device drawn at random would have recorded it; all devices are equally likely.

    Shape: [B, 80, 80] dB -> the same, on the device that the converters compute on. `converters`: by target. `random`:
    of the CPU.
    """
    targets = tuple(converters)
    drawn = torch.randperm(len(targets), generator=random)[:_DEVICES_A_BATCH]
    of_sample: list[int] = drawn[torch.randint(len(drawn), (len(log_mel),), generator=random)].tolist()
    order = sorted(range(len(of_sample)), key=of_sample.__getitem__)
    ordered = log_mel[row_numbers(order, log_mel.device)]
    converted = _converted(ordered, [targets[of_sample[row]] for row in order], converters)
    return converted[row_numbers(places_of(order), log_mel.device)]


def _converted(log_mel: Tensor, targets: Sequence[str], converters: Mapping[str, Converter]) -> Tensor:
    """Convert every sample to its target; equal targets follow each other."""
    first = converters[targets[0]]
    is_one = all(converters[target] is first for target in targets)
    # One call spares a GPU hundreds of launches; a CPU computes a few segments at once as fast as many.
    if log_mel.device.type != "cpu" and is_one and isinstance(first, ConvertsToEach):
        return first.convert_to_each(first.begin(log_mel), targets)
    parts = rows_by_key(log_mel, targets)
    return torch.cat([converters[target].convert(converters[target].begin(part), target) for target, part in parts])
