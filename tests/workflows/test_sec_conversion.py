"""Conversion of training samples on the fly: who is converted to what, and where."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from umc_cli.conversion.drawn_differences import DrawnConversions
from umc_cli.response.frequency_response import band_centres_hz
from umc_cli.response.synthesis.piecewise import Piecewise, PiecewiseSettings
from umc_cli.workflows.sec_conversion import OnTheFlyConversions

N_DEVICES, N_SEGMENTS = 20, 64


@dataclass
class ToNumber:
    """A converter that makes of every segment the number of its target."""

    calls: int = 0

    def begin(self, log_mel: Tensor) -> int:
        return len(log_mel)

    def convert(self, begun: int, target: str) -> Tensor:
        self.calls += 1
        return torch.full((begun, 80, 80), float(target))

    def describe(self) -> dict[str, str]:
        return {}


class Notes:
    """A generator that notes the curves it is given, and returns their first value."""

    def __init__(self) -> None:
        self.curves_db = torch.empty(0, 128)

    def begin(self, log_mel: Tensor) -> int:
        return len(log_mel)

    def convert_each(self, begun: int, fr_difference_db: Tensor) -> Tensor:
        assert len(fr_difference_db) == begun
        self.curves_db = torch.cat([self.curves_db, fr_difference_db])
        return fr_difference_db[:, :1, None].expand(-1, 80, 80)


def test_every_sample_gets_a_curve_of_its_own_exactly_as_it_was_drawn() -> None:
    notes = Notes()
    subject = DrawnConversions(notes, Piecewise(PiecewiseSettings()))  # type: ignore[arg-type]
    random = torch.Generator().manual_seed(3)
    converted = subject(torch.zeros(500, 80, 80), np.arange(500), random)
    subject(torch.zeros(500, 80, 80), np.arange(500), random)
    curves_db = notes.curves_db
    assert len(curves_db.unique(dim=0)) == 1000  # anew for each, and for the same sample in another batch
    assert torch.equal(converted[:, 0, 0], curves_db[:500, 0])
    at_1_khz = np.interp(1000.0, band_centres_hz(), np.arange(128))
    values = curves_db[:, round(at_1_khz)]
    assert values.abs().mean().item() == pytest.approx(2.3, abs=0.3)  # stays in the curve; records have 0 dB there
    bends = (curves_db.diff(n=2, dim=1).abs() > 1e-4).sum(dim=1)
    assert (bends.min().item() >= 1, bends.max().item()) == (True, 4)  # three to five straight lines


def convert(seed: int) -> tuple[list[int], int]:
    """Return the device that each segment was converted to, and how often the converter was called."""
    targets = tuple(str(number) for number in range(N_DEVICES))
    converter = ToNumber()
    conversions = OnTheFlyConversions("number", targets, {}, dict.fromkeys(targets, converter))
    log_mel = torch.full((N_SEGMENTS, 80, 80), -50.0)
    converted = conversions(log_mel, np.arange(N_SEGMENTS), torch.Generator().manual_seed(seed))
    assert (converted.device, converted.dtype) == (log_mel.device, torch.float32)
    assert torch.equal(converted, converted[:, :1, :1].expand_as(converted))
    return converted[:, 0, 0].int().tolist(), converter.calls


def test_a_batch_is_converted_to_eight_devices_at_most() -> None:
    devices, calls = convert(0)
    assert set(devices) <= set(range(N_DEVICES))
    assert calls == len(set(devices)) == 8


def test_devices_follow_from_the_random_numbers_and_all_get_their_turn() -> None:
    assert convert(1) == convert(1)
    drawn = [device for seed in range(100) for device in convert(seed)[0]]
    counts = np.bincount(drawn, minlength=N_DEVICES)
    # 320 each on average; drawn eight at a time, a device's count has a standard deviation of 43.
    assert (abs(counts - 320) < 5 * 43).all()
