"""The presets, value by value: a change of one is a change of what a name means (docs/method.md)."""

import re
from typing import Any

import pytest

from tests.conftest import PROJECT
from umc_cli.config import dump_settings
from umc_cli.conversion.converter_training.adversarial_settings import ADVERSARIAL_PRESETS
from umc_cli.conversion.generator_settings import GENERATOR_PRESETS
from umc_cli.sec.classifier_settings import SEC_PRESETS

PAPERS_TRAINING = {
    # Section 4.2
    "epochs": 100, "batch_size": 400, "learning_rate": 5e-4, "learning_rate_epochs": 30, "learning_rate_divisor": 10.0,
    "adversarial_weight": 1.0, "cycle_weight": 10.0, "identity_weight": 0.0,
    # Sections 3.1, 3.2 and 4.1
    "ngf": 64, "n_blocks": 9, "ndf": 64, "level": "lost", "film_encoder": "paper", "condition": "shape_and_level",
    # CycleGAN's code
    "buffer_size": 50, "beta1": 0.5, "beta2": 0.999,
    # No choice is stated
    "average_decay": 0.0, "held_out_share": 0.0, "keep": "last",
    # Ours
    "film_widths": [32, 64, 64], "film_kernel": 5, "film_hidden": 256, "micro_batch_size": None, "max_steps": None,
    "log_every": 20, "validate_every": 500, "save_every": 500, "precision": "auto", "seed": 0,
}  # fmt: skip
CURED = {
    "level": "carried", "film_encoder": "sized", "condition": "shape", "average_decay": 0.999, "held_out_share": 0.05,
    "keep": "best",
}  # fmt: skip
TRAINING = {
    "paper": PAPERS_TRAINING,
    "cpu": PAPERS_TRAINING | CURED | {
        "ngf": 32, "n_blocks": 6, "batch_size": 16, "epochs": 30, "learning_rate_epochs": 10,
    },
    "smoke": PAPERS_TRAINING | CURED | {
        "ngf": 8, "n_blocks": 2, "ndf": 8, "film_widths": [8, 8, 8], "film_hidden": 32, "batch_size": 8,
        "max_steps": 40, "log_every": 5, "validate_every": 20, "save_every": 20,
    },
}  # fmt: skip
PAPERS_CLASSIFIER = {
    # Section 4.2
    "backbone": "resnet50", "epochs": 200, "batch_size": 100, "learning_rate": 1e-3, "learning_rate_epochs": 25,
    "learning_rate_divisor": 10.0, "unified": "paper",
    # Neither class weights nor a choice are stated
    "balance_classes": False, "held_out_share": 0.0, "keep": "last",
    # Ours
    "converted_share": 0.5, "weight_decay": 0.01, "max_steps": None, "log_every": 20, "validate_every": None,
    "save_every": 500, "precision": "auto", "seed": 0,
}  # fmt: skip
CHOSEN_BY_VALIDATION = {"unified": "best", "balance_classes": True, "held_out_share": 0.1, "keep": "best"}
CLASSIFIER = {
    "paper": PAPERS_CLASSIFIER,
    "cpu": PAPERS_CLASSIFIER | CHOSEN_BY_VALIDATION | {
        "backbone": "cnn", "epochs": 30, "batch_size": 64, "learning_rate": 2e-3, "learning_rate_epochs": 12,
        "learning_rate_divisor": 5.0,
    },
    "smoke": PAPERS_CLASSIFIER | CHOSEN_BY_VALIDATION | {
        "backbone": "cnn", "epochs": 100, "max_steps": 20, "batch_size": 16, "log_every": 5, "validate_every": 10,
        "save_every": 10,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TRAINING)
def test_presets_of_train(name: str) -> None:
    assert dump_settings(ADVERSARIAL_PRESETS[name]) == TRAINING[name]
    assert ADVERSARIAL_PRESETS.keys() == TRAINING.keys()


@pytest.mark.parametrize("name", CLASSIFIER)
def test_presets_of_train_sec(name: str) -> None:
    assert dump_settings(SEC_PRESETS[name]) == CLASSIFIER[name]
    assert SEC_PRESETS.keys() == CLASSIFIER.keys()


@pytest.mark.parametrize("preset", ["paper", "level_aware"])
def test_presets_of_generators_are_those_of_the_trainings(preset: str) -> None:
    training: dict[str, Any] = TRAINING["paper"] | ({} if preset == "paper" else CURED)
    found = dump_settings(GENERATOR_PRESETS[preset])
    assert found == {name: training[name] for name in found}


def test_the_page_names_files_that_are_there() -> None:
    page = (PROJECT / "docs/method.md").read_text(encoding="utf-8")
    rows = page.partition("## The paper, statement by statement")[2].partition("## Traps and cures")[0]
    named = re.findall(r"`([a-z_/0-9]+\.py)`", rows)
    assert len(named) > 20
    missing = [name for name in named if not ((PROJECT / "umc_cli" / name).is_file() or (PROJECT / name).is_file())]
    assert not missing
