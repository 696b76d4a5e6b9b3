import pytest
import torch
import torchvision
from torch import nn

from umc_cli.errors import SettingsError
from umc_cli.sec.backbones import build_backbone


@pytest.mark.parametrize("name", ["cnn", "strided", "resnet50", "mobilenet_v3_small"])
def test_it_gives_a_logit_for_every_class(name: str) -> None:
    network = build_backbone(name, 7).eval()
    assert network(torch.zeros(2, 1, 80, 80)).shape == (2, 7)


def test_resnet50_is_torchvisions_with_one_input_channel() -> None:
    ours = sum(weight.numel() for weight in build_backbone("resnet50", 10).parameters())
    theirs = sum(weight.numel() for weight in torchvision.models.resnet50(num_classes=10).parameters())
    assert theirs - ours == 2 * 64 * 7 * 7


def test_first_layer_of_resnet50_has_torchvisions_initial_weights() -> None:
    """kaiming_normal over the outputs: std (2 / (64 * 7 * 7))^0.5. Conv2d's own default gives 0.084."""
    torch.manual_seed(0)
    first = build_backbone("resnet50", 2).conv1
    assert first.weight.shape == (64, 1, 7, 7)
    assert first.weight.std().item() == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("name", ["cnn", "strided", "resnet18"])
def test_a_stage_norm_stands_after_each_of_the_four_stages(name: str) -> None:
    class Marked(nn.Identity):
        pass

    network = build_backbone(name, 3, Marked)
    assert sum(isinstance(module, Marked) for module in network.modules()) == 4
    assert network.eval()(torch.zeros(1, 1, 80, 80)).shape == (1, 3)


@pytest.mark.parametrize(("name", "message"), [("rsnet", "unknown backbone 'rsnet'"), ("vit_b_16", "80 x 80")])
def test_what_cannot_be_used_is_named(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_backbone(name, 3)


def test_stages_of_unknown_networks_are_not_guessed() -> None:
    with pytest.raises(SettingsError, match="where the stages"):
        build_backbone("mobilenet_v3_small", 3, nn.Identity)
