"""From a PyTorch module to an OpenVINO model for batches of any size, with each InstanceNorm as one operation."""

import copy
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from umc_cli.conversion.engines.openvino_package import without_telemetry
from umc_cli.conversion.generator import Generator

EXAMPLE_BATCH = 2
"""Not 1: torch.export would take that for a constant. No other dimension of an input may be as long."""

_EPS = 1e-5
_SPATIAL_AXES = (2, 3)


# torch.export takes an InstanceNorm apart into eight operations; a custom operation stays whole and becomes OpenVINO's
# MVN, which makes the whole about a tenth faster with direct convolutions in fp32.
@torch.library.custom_op("umc::instance_norm", mutates_args=())
def _instance_norm(x: Tensor) -> Tensor:
    return F.instance_norm(x, eps=_EPS)


@_instance_norm.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class _WholeInstanceNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = _instance_norm(x)
        return normed


def copy_for_export(generator: Generator) -> Generator:
    """Return an fp32 copy on the CPU whose norms stay whole; the caller's generator keeps its own."""
    generator = copy.deepcopy(generator).float().cpu().eval().requires_grad_(False)
    for module in list(generator.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.InstanceNorm2d):
                setattr(module, name, _WholeInstanceNorm())
    return generator


def to_openvino(module: nn.Module, example: tuple[Tensor, ...]) -> Any:
    """Return an `openvino.Model` of the module.

    `example` holds one tensor per input; dimensions as long as `EXAMPLE_BATCH` are left open.
    """
    with without_telemetry():
        from openvino import opset13
        from openvino.frontend.pytorch import ConversionExtension
        from openvino.tools.ovc import convert_model

    def to_mvn(node: Any) -> Any:
        axes = opset13.constant(np.array(_SPATIAL_AXES, dtype=np.int32))
        return opset13.mvn(node.get_input(0), axes, True, _EPS, "INSIDE_SQRT").outputs()

    with _quiet(), without_telemetry():
        program = torch.export.export(module, example, dynamic_shapes=_open_dimensions(example))
        model = convert_model(program, extension=ConversionExtension("umc.instance_norm.default", to_mvn))
    model.reshape({index: _open_shape(tensor) for index, tensor in enumerate(example)})
    return model


def _open_shape(tensor: Tensor) -> list[int]:
    return [-1 if size == EXAMPLE_BATCH else size for size in tensor.shape]


def _open_dimensions(example: tuple[Tensor, ...]) -> tuple[dict[int, Any] | None, ...]:
    return tuple(
        {axis: torch.export.Dim.AUTO for axis, size in enumerate(tensor.shape) if size == EXAMPLE_BATCH} or None
        for tensor in example
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's notes to its developers from the user, and the option --verbose from OpenVINO.

    OpenVINO looks for it on the command line of the process, and then prints on standard output.
    """
    log = logging.getLogger("torch.export")
    before, arguments = log.level, sys.argv
    log.setLevel(logging.ERROR)
    sys.argv = sys.argv[:1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.argv = arguments
        log.setLevel(before)
