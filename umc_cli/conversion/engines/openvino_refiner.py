"""The refiner as an OpenVINO model, written in OpenVINO's operations."""

from typing import Any

import numpy as np
from torch import nn

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
from umc_cli.conversion.engines.openvino_operations import applied, integers, linear
from umc_cli.conversion.engines.openvino_package import without_telemetry
from umc_cli.conversion.refiner_network import N_MAPS, Refiner

with without_telemetry():
    from openvino import Model
    from openvino import opset13 as ops


def refiner_model(refiner: Refiner) -> Any:
    """Return an `openvino.Model` that computes `refiner.forward` for batches of any size.

    Shape: [B, 8, 80, 80] float32 -> [B, 80, 80] float32.
    """
    maps = ops.parameter([-1, N_MAPS, LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames], np.float32)
    x = ops.relu(applied(maps, refiner.first))
    skips = []
    for convolution, halving in zip(refiner.encoder[:-1], refiner.halvings, strict=True):
        x = _corrected(x, convolution)
        skips.append(x)
        x = ops.relu(applied(x, halving))
    x = _corrected(x, refiner.encoder[-1])
    x = _corrected(x, refiner.bottom)
    mean = ops.reduce_mean(x, integers(2, 3), keep_dims=False)
    x = ops.add(x, ops.unsqueeze(linear(mean, refiner.whole_segment), integers(2, 3)))
    upwards = zip(skips[::-1], refiner.narrowings[::-1], refiner.decoder[::-1], strict=True)
    for skip, narrowing, convolution in upwards:
        x = _corrected(ops.add(_doubled(applied(x, narrowing)), skip), convolution)
    return Model([ops.squeeze(applied(x, refiner.last), integers(1))], [maps])


def _corrected(x: Any, convolution: nn.Module) -> Any:
    return ops.add(x, ops.relu(applied(x, convolution)))


def _doubled(x: Any) -> Any:
    """Return x with every value four times: nearest neighbors, both sides twice as long."""
    scales = np.array([2.0, 2.0], dtype=np.float32)
    return ops.interpolate(
        x, scales, "nearest", "scales", axes=integers(2, 3), coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip
