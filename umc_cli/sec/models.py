"""Trained classifiers: which there are, what they are called, and what they say of segments."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from umc_cli.audio.feature_settings import SecFeatures
from umc_cli.checkpoint import read_checkpoint, read_metadata
from umc_cli.config import Workspace
from umc_cli.errors import SettingsError
from umc_cli.sec.network import predict_logits
from umc_cli.sec.sec_checkpoint import KIND, load_sec
from umc_cli.shards.plan import hash_of
from umc_cli.training.run_settings import EARLIER

WEIGHTS_NAME, LAST_NAME = "best.safetensors", "last.safetensors"
"""Of a run: the weights of its best validation, or the last ones, where its settings say that these count."""

_BATCH = 64
_NOT_OF_THE_TRAINING = frozenset({"name", "seed", "source", "method"})
"""Settings in which the seeds of one row may differ, or that a row is named after."""


@dataclass(frozen=True)
class SecModel:
    """What is known of a trained classifier without its weights."""

    name: str
    """Of its run, else of its file; no two have the same."""
    path: str
    sha256: str
    source: str
    method: str
    classes: tuple[str, ...]
    training: dict[str, Any]
    """What the training wrote of itself."""
    features: SecFeatures | None = None
    """What it sees; None means the paper's log-mel spectrograms."""

    @property
    def seed(self) -> Any:
        """Return the seed of its training, if that is known."""
        return _settings_of(self.training).get("seed", self.training.get("seed"))

    @property
    def group(self) -> str:
        """Return what all seeds of one row of a table share, as a hash."""
        settings = {
            name: value for name, value in _settings_of(self.training).items() if name not in _NOT_OF_THE_TRAINING
        }
        return hash_of([self.source, self.method, list(self.classes), settings, self.training.get("recordings_sha256")])


def find_models(workspace: Workspace, names: Sequence[str], warnings: list[str]) -> list[SecModel]:
    """Return the classifiers called `names` (runs of the workspace, or files), or all runs that hold one.

    The same weights given twice count once.

    Raises:
        SettingsError: there is none, or one cannot be used.
    """
    paths = [_path_of(workspace, name) for name in names] if names else _runs_with_classifiers(workspace.runs, warnings)
    if not paths:
        raise SettingsError(
            f"there is no trained classifier in {workspace.runs}",
            "train one with `umc train-sec`, or name files with --model",
        )
    by_weights: dict[str, tuple[Path, SecModel]] = {}
    for path in paths:
        trained = load_sec(path)
        is_of_run = path.name == WEIGHTS_NAME or path == weights_of_run(path.parent)
        name = path.parent.name if is_of_run else path.stem
        model = SecModel(
            name=name,
            path=str(path),
            sha256=trained.sha256,
            source=trained.source,
            method=trained.method,
            classes=trained.classes,
            training=trained.training,
            features=trained.features,
        )
        earlier = by_weights.setdefault(trained.sha256, (path, model))[0]
        if earlier != path:
            warnings.append(f"{path} holds the same weights as {earlier} and counts once")
    models = [model for _, model in by_weights.values()]
    named = [model.name for model in models]
    return [
        model if named.count(model.name) == 1 else SecModel(**vars(model) | {"name": model.path}) for model in models
    ]


def classify(network: nn.Module, log_mel: NDArray[np.float32], device: torch.device) -> NDArray[np.intp]:
    """Return the class of each segment. Shape: [N, 80, 80] dB, or of its own features -> [N].

    Raises:
        SettingsError: the network's output is not finite.
    """
    if not len(log_mel):
        return np.empty(0, np.intp)
    logits = predict_logits(network.to(device), log_mel, device, _BATCH)
    if not torch.isfinite(logits).all():
        raise SettingsError("the classifier's output is not finite", "train it again")
    return np.asarray(logits.argmax(dim=1).numpy())


def _settings_of(training: dict[str, Any]) -> dict[str, Any]:
    settings = training.get("settings")
    return {**EARLIER["sec"], **settings} if isinstance(settings, dict) else {}


def weights_of_run(folder: Path) -> Path | None:
    """Return the weights of a run that count; None where `folder` holds none."""
    best, last = folder / WEIGHTS_NAME, folder / LAST_NAME
    if best.is_file() or not last.is_file():
        return best if best.is_file() else None
    try:
        training = read_metadata(last).get("training")
    except SettingsError:
        return None
    return last if isinstance(training, dict) and _settings_of(training).get("keep") == "last" else None


def _path_of(workspace: Workspace, name: str) -> Path:
    path = Path(name)
    found = weights_of_run(workspace.runs / name) or weights_of_run(path)
    if found or path.is_file():
        return found or path
    runs = sorted(folder.name for folder in workspace.runs.glob("*") if weights_of_run(folder))
    raise SettingsError(
        f"{name!r} is neither a run with {WEIGHTS_NAME} nor a file",
        f"runs in {workspace.runs}: {', '.join(runs) or 'none'}",
    )


def _runs_with_classifiers(runs: Path, warnings: list[str]) -> list[Path]:
    found = []
    for path in filter(None, map(weights_of_run, sorted(runs.glob("*")))):
        try:
            kind = read_checkpoint(path).metadata.get("kind")
        except SettingsError as error:
            warnings.append(f"left out: {error.message}")
            continue
        if kind == KIND:
            found.append(path)
    return found


def some(names: Iterable[str], most: int = 8) -> str:
    """Return names as a message has them, the first few of many."""
    shown = sorted(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(repr(name) for name in shown[:most]) + more
