"""The refiner as an OpenVINO model, written in OpenVINO's operations.

Exporting it with torch costs seconds, most of them imports, in every command that converts a few files.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from umc_cli.audio.log_mel_settings import LOG_MEL_SETTINGS
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
    x = ops.relu(_convolved(maps, refiner.first))
    skips = []
    for convolution, halving in zip(refiner.encoder[:-1], refiner.halvings, strict=True):
        x = _corrected(x, convolution)
        skips.append(x)
        x = ops.relu(_convolved(x, halving))
    x = _corrected(x, refiner.encoder[-1])
    x = _corrected(x, refiner.bottom)
    mean = ops.reduce_mean(x, _integers(2, 3), keep_dims=False)
    x = ops.add(x, ops.unsqueeze(_linear(mean, refiner.whole_segment), _integers(2, 3)))
    upwards = zip(skips[::-1], refiner.narrowings[::-1], refiner.decoder[::-1], strict=True)
    for skip, narrowing, convolution in upwards:
        x = _corrected(ops.add(_doubled(_convolved(x, narrowing)), skip), convolution)
    return Model([ops.squeeze(_convolved(x, refiner.last), _integers(1))], [maps])


def _corrected(x: Any, convolution: nn.Module) -> Any:
    return ops.add(x, ops.relu(_convolved(x, convolution)))


def _convolved(x: Any, convolution: nn.Module) -> Any:
    """Return the convolution of x, bias included."""
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    strides, padding, dilation = list(convolution.stride), list(convolution.padding), list(convolution.dilation)
    product = ops.convolution(x, _array(convolution.weight), strides, padding, padding, dilation)
    return ops.add(product, _array(convolution.bias).reshape(1, -1, 1, 1))


def _linear(x: Any, layer: nn.Linear) -> Any:
    return ops.add(ops.matmul(x, _array(layer.weight), False, True), _array(layer.bias).reshape(1, -1))


def _doubled(x: Any) -> Any:
    """Return x with every value four times: nearest neighbors, both sides twice as long."""
    scales = np.array([2.0, 2.0], dtype=np.float32)
    return ops.interpolate(
        x, scales, "nearest", "scales", axes=_integers(2, 3), coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip


def _array(parameter: Any) -> NDArray[np.float32]:
    values: NDArray[np.float32] = parameter.detach().float().cpu().numpy()
    return values


def _integers(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
