"""Whose weights `umc convert` takes after a training: decided by a wish, or by held-out data."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from umc_cli.checkpoint import write_checkpoint
from umc_cli.conversion.chosen.weights_in_words import weights_in_words
from umc_cli.conversion.converter_training.publication import FinishedRun, Rival, publish
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.errors import SettingsError

RUN_ID, OTHER_ID = "a" * 16, "b" * 16


def write_weights(path: Path, run_id: str, name: str, step: int = 7) -> Path:
    training = {"run_id": run_id, "name": name, "step": step, "date": "2026-11-28"}
    write_checkpoint(path, {"weight": torch.ones(step)}, {"training": training})
    return path


@pytest.fixture
def run(tmp_path: Path) -> FinishedRun:
    """A run whose best weights have the score 0.5."""
    folder = tmp_path / "runs/mine"
    write_weights(folder / "best.safetensors", RUN_ID, "mine")
    return FinishedRun(folder, RUN_ID, "cpu", 0.5, {"best.safetensors": tmp_path / "checkpoints/x.safetensors"})


def scored(score: float) -> Callable[[], float]:
    return lambda: score


def is_there(run: FinishedRun) -> bool:
    target = run.targets["best.safetensors"]
    return target.exists() and target.read_bytes() == (run.folder / "best.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("wish", "rival_score", "published", "reason"),
    [
        (None, 0.6, True, "validation score 0.5 on held-out recordings, better than 0.6 of run 'other', 20 steps"),
        (None, 0.4, False, "validation score 0.5 on held-out recordings, not better than 0.4 of run 'other', 20 steps"),
        (None, 0.5, False, "not better than 0.5"),
        (True, 0.4, True, "--publish; replaced run 'other', 20 steps, 2026-11-28"),
        (False, 0.6, False, "--no-publish"),
    ],
)
def test_a_wish_decides_else_the_better_score(
    run: FinishedRun, wish: bool | None, rival_score: float, published: bool, reason: str
) -> None:
    target = write_weights(run.targets["best.safetensors"], OTHER_ID, "other", step=20)
    publication = publish(run, wish, Rival([target], scored(rival_score)))
    assert publication.paths == ([str(target)] if published else [])
    assert reason in publication.reason
    assert is_there(run) is published


def test_the_first_weights_are_published_and_replaced_by_better_ones_of_the_same_run(run: FinishedRun) -> None:
    assert publish(run, None, Rival([], None)).reason == "there were none before"
    assert is_there(run)
    write_weights(run.folder / "best.safetensors", RUN_ID, "mine", step=9)
    again = publish(run, None, Rival(list(run.targets.values()), scored(0.0)))
    assert again.reason == "the run's own earlier weights were there"
    assert is_there(run)


def test_the_shipped_weights_are_a_rival_too(run: FinishedRun) -> None:
    lost = publish(run, None, Rival([SHIPPED_REFINER], scored(0.4)))
    assert "not better than 0.4 of the weights that ship with umc" in lost.reason
    assert not is_there(run)
    assert publish(run, None, Rival([SHIPPED_REFINER], scored(0.6))).paths


def test_a_smoke_run_replaces_nothing_however_well_it_scores(run: FinishedRun) -> None:
    smoke = replace(run, preset="smoke")
    kept = publish(smoke, None, Rival([SHIPPED_REFINER], scored(9.0)))
    assert (kept.paths, is_there(run)) == ([], False)
    assert "only shows that all works; the weights that ship with umc stay" in kept.reason
    assert publish(smoke, True, Rival([SHIPPED_REFINER], scored(0.0))).paths


def test_nothing_held_out_and_weights_that_cannot_be_read_are_no_victory(run: FinishedRun) -> None:
    target = write_weights(run.targets["best.safetensors"], OTHER_ID, "other")
    assert "no recordings are held out" in publish(run, None, Rival([target], None)).reason
    target.write_bytes(b"not weights")

    def fail() -> float:
        raise SettingsError("they are broken", "")

    broken = publish(run, None, Rival([target], fail))
    assert broken.reason == f"they cannot be compared with unreadable weights ({target}): they are broken"
    assert target.read_bytes() == b"not weights"
    assert publish(run, True, Rival([target], fail)).paths


def test_weights_are_named_by_run_steps_and_date(tmp_path: Path) -> None:
    path = write_weights(tmp_path / "x.safetensors", RUN_ID, "kitchen", step=1)
    assert weights_in_words(path) == f"run 'kitchen', 1 step, 2026-11-28 ({path})"
    write_checkpoint(path, {"weight": torch.ones(1)}, {})
    assert weights_in_words(path) == f"weights without a run name ({path})"
    assert weights_in_words(SHIPPED_REFINER) == "the weights that ship with umc"
