from pathlib import Path

import pytest
import torch

from tests.conversion.generators import NORMALISATION, small_generator, tilt_db, write_small_checkpoint
from umc_cli.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from umc_cli.conversion.generator_checkpoint import load_generator, preset_name, save_generator
from umc_cli.conversion.generator_settings import GENERATOR_PRESETS
from umc_cli.errors import SettingsError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_small_checkpoint(tmp_path / "generator.safetensors")


@pytest.fixture
def content(path: Path) -> Checkpoint:
    return read_checkpoint(path)


def rewrite(path: Path, content: Checkpoint) -> None:
    write_checkpoint(path, content.tensors, content.metadata)


def test_a_loaded_generator_computes_the_same(path: Path) -> None:
    trained = load_generator(path)
    assert trained.normalisation == NORMALISATION
    assert not trained.generator.training
    normalised = torch.randn(2, 80, 80)
    torch.testing.assert_close(
        trained.generator(normalised, tilt_db(6)), small_generator()(normalised, tilt_db(6)), rtol=0, atol=0
    )


def test_the_same_seed_gives_the_same_file(path: Path, tmp_path: Path) -> None:
    assert write_small_checkpoint(tmp_path / "again").read_bytes() == path.read_bytes()
    assert write_small_checkpoint(tmp_path / "other", seed=1).read_bytes() != path.read_bytes()


def test_notes_of_the_training_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_generator(path, small_generator(), NORMALISATION, {"steps": 3})
    assert load_generator(path).training == {"steps": 3}


def test_presets_have_names() -> None:
    for name, settings in GENERATOR_PRESETS.items():
        assert preset_name(settings.model_copy(update={"ngf": 8})) == name
    assert preset_name(GENERATOR_PRESETS["paper"].model_copy(update={"level": "carried"})) == "custom"


def test_other_log_mel_settings_are_refused_by_name(path: Path, content: Checkpoint) -> None:
    content.metadata["log_mel"]["mel_scale"] = "htk"
    rewrite(path, content)
    with pytest.raises(SettingsError, match="other log-mel spectrograms: mel_scale 'htk' instead of 'slaney'"):
        load_generator(path)


def test_another_kind_of_checkpoint_is_refused(path: Path, content: Checkpoint) -> None:
    content.metadata["kind"] = "discriminator"
    rewrite(path, content)
    with pytest.raises(SettingsError, match="holds a 'discriminator', not a generator"):
        load_generator(path)


def test_unknown_settings_are_refused(path: Path, content: Checkpoint) -> None:
    content.metadata["generator"]["attention"] = True
    rewrite(path, content)
    with pytest.raises(SettingsError, match="settings that this umc does not know: attention"):
        load_generator(path)


def test_a_missing_normalisation_is_refused(path: Path, content: Checkpoint) -> None:
    del content.metadata["normalisation"]
    rewrite(path, content)
    with pytest.raises(SettingsError, match="settings that this umc does not know"):
        load_generator(path)


NAME = "blocks.1.second.1.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({NAME: None}, f"lacks the tensor '{NAME}'"),
        ({"extra": torch.zeros(1)}, "holds an unknown tensor 'extra'"),
        ({NAME: torch.zeros(3)}, r"is \(3,\) and must be \(32, 32, 3, 3\)"),
        ({NAME: torch.full((32, 32, 3, 3), torch.nan)}, "holds values that are not finite"),
        ({NAME: torch.full((32, 32, 3, 3), torch.inf)}, "holds values that are not finite"),
    ],
)
def test_wrong_tensors_are_refused(
    path: Path, content: Checkpoint, change: dict[str, torch.Tensor | None], message: str
) -> None:
    content.tensors.update({name: tensor for name, tensor in change.items() if tensor is not None})
    for name in [name for name, tensor in change.items() if tensor is None]:
        del content.tensors[name]
    rewrite(path, content)
    with pytest.raises(SettingsError, match=message):
        load_generator(path)
