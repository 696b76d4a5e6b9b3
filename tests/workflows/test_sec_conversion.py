"""Conversion of training samples on the fly: who is converted to what, and where."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from umc_cli.workflows.sec_conversion import OnTheFlyConversions

N_DEVICES, N_SEGMENTS = 20, 64


@dataclass
class ToNumber:
    """A converter that makes of every segment the number of its target, and computes on the device `meta`."""

    calls: int = 0

    def begin(self, log_mel: Tensor) -> int:
        assert log_mel.device == torch.device("meta")
        return len(log_mel)

    def convert(self, begun: int, target: str) -> Tensor:
        self.calls += 1
        return torch.full((begun, 80, 80), float(target))

    def describe(self) -> dict[str, str]:
        return {}


def convert(seed: int) -> tuple[list[int], int]:
    """Return the device that each segment was converted to, and how often the converter was called."""
    targets = tuple(str(number) for number in range(N_DEVICES))
    converter = ToNumber()
    conversions = OnTheFlyConversions("number", targets, {}, dict.fromkeys(targets, converter), torch.device("meta"))
    log_mel = torch.full((N_SEGMENTS, 80, 80), -50.0)
    converted = conversions(log_mel, np.arange(N_SEGMENTS), torch.Generator().manual_seed(seed))
    assert (converted.device, converted.dtype) == (log_mel.device, torch.float32)
    assert torch.equal(converted, converted[:, :1, :1].expand_as(converted))
    return converted[:, 0, 0].int().tolist(), converter.calls


def test_converters_get_segments_where_they_compute_and_results_come_back() -> None:
    devices, calls = convert(0)
    assert set(devices) <= set(range(N_DEVICES))
    assert calls == len(set(devices)) == 8


def test_devices_follow_from_the_random_numbers_and_all_get_their_turn() -> None:
    assert convert(1) == convert(1)
    drawn = [device for seed in range(100) for device in convert(seed)[0]]
    counts = np.bincount(drawn, minlength=N_DEVICES)
    # 320 each on average; drawn eight at a time, a device's count has a standard deviation of 43.
    assert (abs(counts - 320) < 5 * 43).all()
