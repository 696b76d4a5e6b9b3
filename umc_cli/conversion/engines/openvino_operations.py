"""Layers of PyTorch in OpenVINO's operations, which the models of the networks are written in.

Exporting the networks with torch costs seconds, most of them imports, in every command that converts a few files.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from umc_cli.conversion.engines.openvino_package import without_telemetry
from umc_cli.conversion.generator import OneMapConv2d

with without_telemetry():
    from openvino import opset13 as ops

_SPATIAL_AXES = (2, 3)


def applied(x: Any, module: nn.Module) -> Any:
    """Return what a layer, or several in a sequence, make of x. Shape: [B, channels, H, W]."""
    match module:
        case nn.Sequential():
            for layer in module:
                x = applied(x, layer)
            return x
        case OneMapConv2d():
            return _one_map(x, module)
        case nn.Conv2d():
            strides, padding, dilation = list(module.stride), list(module.padding), list(module.dilation)
            product = ops.convolution(x, array(module.weight), strides, padding, padding, dilation)
            return ops.add(product, array(module.bias).reshape(1, -1, 1, 1))
        case nn.ConvTranspose2d():
            product = ops.convolution_backprop_data(
                x, array(module.weight), list(module.stride), pads_begin=list(module.padding),
                pads_end=list(module.padding), output_padding=list(module.output_padding),
            )  # fmt: skip
            return ops.add(product, array(module.bias).reshape(1, -1, 1, 1))
        case nn.ReflectionPad2d():
            left, right, top, bottom = module.padding
            return ops.pad(x, integers(0, 0, top, left), integers(0, 0, bottom, right), "reflect")
        case nn.InstanceNorm2d():  # as one operation, a tenth faster than in eight
            return ops.mvn(x, integers(*_SPATIAL_AXES), True, module.eps, "INSIDE_SQRT")
        case nn.ReLU():
            return ops.relu(x)
    raise TypeError(f"no operations for {type(module).__name__}")


def linear(x: Any, layer: nn.Linear) -> Any:
    """Return the product, bias included. Shape: [B, n] -> [B, m]."""
    return ops.add(ops.matmul(x, array(layer.weight), False, True), array(layer.bias).reshape(1, -1))


def array(parameter: Any) -> NDArray[np.float32]:
    """Return weights as an array."""
    values: NDArray[np.float32] = parameter.detach().float().cpu().numpy()
    return values


def integers(*values: int) -> NDArray[np.int64]:
    """Return what operations take axes and the like as."""
    return np.array(values, dtype=np.int64)


def _one_map(x: Any, module: OneMapConv2d) -> Any:
    kernel = module.kernel_size[0]
    weight = array(module.weight)[0].swapaxes(0, 1)[:, :, None]
    rows = ops.convolution(x, np.ascontiguousarray(weight), [1, 1], [0, 0], [0, 0], [1, 1])
    height = rows.get_output_partial_shape(0)[2].get_length() - kernel + 1
    moved = [
        ops.slice(rows, integers(row, row), integers(row + 1, row + height), integers(1, 1), integers(1, 2))
        for row in range(kernel)
    ]
    result = ops.constant(array(module.bias).reshape(1, 1, 1, 1))
    for one in moved:
        result = ops.add(result, one)
    return result
