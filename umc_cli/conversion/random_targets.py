"""Samples of a batch converted to devices that are drawn at random."""

from collections.abc import Mapping

import torch
from torch import Tensor

from umc_cli.conversion.converters.contract import Converter

_DEVICES_A_BATCH = 8
"""Samples of a batch share so many devices at most: a converter is called once for each."""


def convert_to_random_targets(
    log_mel: Tensor, converters: Mapping[str, Converter], torch_device: torch.device, random: torch.Generator
) -> Tensor:
    """Return every sample as a device drawn at random would have recorded it; all devices are equally likely.

    Shape: [B, 80, 80] dB -> the same, on the device of `log_mel`. `converters`: by target; they compute on
    `torch_device`. `random`: of the CPU.
    """
    targets = tuple(converters)
    drawn = torch.randperm(len(targets), generator=random)[:_DEVICES_A_BATCH]
    of_sample = drawn[torch.randint(len(drawn), (len(log_mel),), generator=random)]
    converted = torch.empty_like(log_mel)
    for number in sorted(set(of_sample.tolist())):
        chosen = of_sample == number
        converter = converters[targets[number]]
        begun = converter.begin(log_mel[chosen].to(torch_device))
        converted[chosen] = converter.convert(begun, targets[number]).to(log_mel.device, log_mel.dtype)
    return converted
