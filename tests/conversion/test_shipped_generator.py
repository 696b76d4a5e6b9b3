"""The generator that comes with the package: who takes it, who does not, and what is said of it."""

from pathlib import Path

import pytest
import torch

from tests.conversion.devices import device
from umc_cli.audio.manifest import Recordings
from umc_cli.checkpoint import read_checkpoint
from umc_cli.config import Workspace, find_workspace
from umc_cli.conversion.chosen.choice import choose_conversion
from umc_cli.conversion.chosen.conversion_settings import ConversionSettings
from umc_cli.conversion.chosen.known import find_weights
from umc_cli.conversion.generator_checkpoint import load_generator
from umc_cli.conversion.generator_settings import SHIPPED_GENERATOR
from umc_cli.errors import SettingsError
from umc_cli.response.device import write_device
from umc_cli.workflows.sec_conversion import choose_sec_conversion

NOTHING = Recordings((), ())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "umc.toml").touch()
    return find_workspace(tmp_path)


FILM_GAN = ConversionSettings(source="pixel3", targets=("xperia1",), converter="film_gan")


def test_the_file_is_small_in_half_precision_and_a_generator_for_all_devices() -> None:
    assert SHIPPED_GENERATOR.stat().st_size <= 25e6
    assert {tensor.dtype for tensor in read_checkpoint(SHIPPED_GENERATOR).tensors.values()} == {torch.float16}
    assert load_generator(SHIPPED_GENERATOR).generator.settings.film_encoder != "none"


def test_own_weights_win(workspace: Workspace) -> None:
    assert find_weights(workspace, None).generator == SHIPPED_GENERATOR
    own = workspace.checkpoints / "generator.safetensors"
    own.parent.mkdir()
    own.touch()
    assert find_weights(workspace, None).generator == own
    assert choose_conversion(workspace, FILM_GAN, NOTHING).cautions == ()


def test_film_gan_converts_out_of_the_box_and_says_what_with(workspace: Workspace) -> None:
    conversion = choose_conversion(workspace, FILM_GAN, NOTHING)
    assert conversion.weights() == "the weights that ship with umc"
    (caution,) = conversion.cautions
    assert "film_gan takes the generator that ships with umc" in caution
    (converted,) = conversion(torch.full((1, 80, 80), -50.0)).values()
    assert converted.shape == (1, 80, 80)
    assert converted.isfinite().all()


def test_other_machines_take_their_own_packages_file(workspace: Workspace) -> None:
    conversion = choose_conversion(workspace, FILM_GAN, NOTHING)
    told = conversion.for_other_machines()
    assert told.ingredients.checkpoint is None
    assert told.on_this_machine().ingredients.checkpoint == SHIPPED_GENERATOR


def test_nothing_takes_it_by_itself(workspace: Workspace) -> None:
    """No noise floor is known: of the unified methods' converters only film_gan could work."""
    for name in ("plain", "bright"):
        write_device(device(name), workspace.devices)
    unknown = ConversionSettings(source="plain", targets=("bright",))
    assert choose_conversion(workspace, unknown, NOTHING).converter == "eq"
    with pytest.raises(SettingsError, match=r"refiner_transport lacks .*noise floor"):
        choose_sec_conversion(workspace, "unified-real", unknown, NOTHING, 0)
    named = unknown.model_copy(update={"converter": "film_gan"})
    (chosen,) = choose_sec_conversion(workspace, "unified-real", named, NOTHING, 0)
    assert chosen.converter == "film_gan"
