"""Classifiers of torchvision, untrained, with one input channel in the place of three.

torchvision is imported where it is used: it takes a second.
"""

from collections.abc import Callable

import torch
from torch import nn

from umc_cli.errors import SettingsError

_STAGES = ("layer1", "layer2", "layer3", "layer4")
"""What the residual networks call their stages."""


def names() -> frozenset[str]:
    """Return the names that torchvision knows."""
    import torchvision

    return frozenset(torchvision.models.list_models(module=torchvision.models))


def builder(name: str) -> Callable[[int, Callable[[], nn.Module] | None], nn.Module]:
    """Return what builds the network of this name, see `backbones.BackboneBuilder`."""

    def build(n_classes: int, stage_norm: Callable[[], nn.Module] | None) -> nn.Module:
        import torchvision

        try:
            network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=n_classes)
        except (ValueError, TypeError) as error:
            raise SettingsError(
                f"backbone {name!r} is not a plain classifier: {error}", "use resnet50, cnn or another one"
            ) from error
        _take_one_channel(network)
        if stage_norm:
            _normalise_stages(name, network, stage_norm)
        return network

    return build


def _take_one_channel(network: nn.Module) -> None:
    for module in network.modules():
        for child_name, child in module.named_children():
            if isinstance(child, nn.Conv2d) and child.in_channels == 3:
                first = nn.Conv2d(
                    1,
                    child.out_channels,
                    (child.kernel_size[0], child.kernel_size[1]),
                    (child.stride[0], child.stride[1]),
                    child.padding if isinstance(child.padding, str) else (child.padding[0], child.padding[1]),
                    bias=child.bias is not None,
                )
                # Initialised as torchvision's own first layer: Conv2d's default is 3.3 times as large in resnet50.
                with torch.no_grad():
                    first.weight.copy_(child.weight[:, :1])
                    if first.bias is not None and child.bias is not None:
                        first.bias.copy_(child.bias)
                setattr(module, child_name, first)
                return


def _normalise_stages(name: str, network: nn.Module, stage_norm: Callable[[], nn.Module]) -> None:
    if not all(hasattr(network, stage) for stage in _STAGES):
        raise SettingsError(
            f"it is not known where the stages of backbone {name!r} end",
            "use a resnet, cnn or strided with this method",
        )
    for stage in _STAGES:
        setattr(network, stage, nn.Sequential(getattr(network, stage), stage_norm()))
