"""Train a classifier with a front end of one's own on what `umc convert --write flac` wrote.

    umc demo umc-demo
    umc -C umc-demo convert --write flac --output audio
    python examples/train_on_converted_audio.py umc-demo/audio/manifest.csv --target umc-demo/data/phone-1

Needs the manifest, soundfile and torchaudio, and no umc: 64 mel bands at 16 kHz, clips of 2 seconds. Trains the same
small network twice from each seed, on the source's recordings and on the converted ones, both of split `train`, and
tests on what the target recorded of split `test`. Prints macro F1 as one JSON object on standard output.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import soundfile
import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

RATE_HZ, SECONDS, N_MELS = 16_000, 2, 64
BATCH, LEARNING_RATE = 16, 1e-3
_mel = torchaudio.transforms.MelSpectrogram(RATE_HZ, n_fft=1024, hop_length=320, n_mels=N_MELS)
_to_db = torchaudio.transforms.AmplitudeToDB(top_db=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path, help="manifest.csv of the converted recordings")
    parser.add_argument("--target", type=Path, required=True, help="folder of the target's recordings: <label>/<name>")
    parser.add_argument("--workspace", type=Path, help="where paths of the source's recordings start")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    given = parser.parse_args()
    workspace = given.workspace or given.manifest.parent.parent
    with given.manifest.open(newline="", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["device"] == given.target.name]
    classes = sorted({row["label"] for row in rows})
    train = [row for row in rows if row["split"] == "train"]
    test = [row for row in rows if row["split"] == "test"]
    if not train or not test:
        sys.exit(f"{given.manifest} has no rows of {given.target.name} in split train, or none in split test")
    recorded = {path.relative_to(given.target).with_suffix("").as_posix(): path for path in given.target.rglob("*.*")}
    labels = {name: torch.tensor([classes.index(row["label"]) for row in part]) for name, part in
              (("train", train), ("test", test))}  # fmt: skip
    of_target = spectrograms([recorded[row["recording"]] for row in test])
    result: dict[str, object] = {"classes": len(classes), "train": len(train), "test": len(test)}
    for name, paths in (
        ("source", [workspace / row["source_path"] for row in train]),
        ("converted", [given.manifest.parent / row["path"] for row in train]),
    ):
        learned = spectrograms(paths)
        result[name] = [
            round(
                macro_f1(
                    trained(learned, labels["train"], len(classes), seed, given.epochs), of_target, labels["test"]
                ),
                3,
            )
            for seed in range(given.seeds)
        ]
    sys.stdout.write(json.dumps(result) + "\n")


def spectrograms(paths: Sequence[Path]) -> Tensor:
    """Shape: [n, 1, 64, 101] in dB."""
    return torch.stack([spectrogram(path) for path in paths])


def spectrogram(path: Path) -> Tensor:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = torchaudio.functional.resample(torch.from_numpy(samples.mean(axis=1)), rate, RATE_HZ)
    clip = functional.pad(mono, (0, max(0, RATE_HZ * SECONDS - len(mono))))[: RATE_HZ * SECONDS]
    return _to_db(_mel(clip))[None]


def trained(given: Tensor, labels: Tensor, n_classes: int, seed: int, epochs: int) -> nn.Module:
    torch.manual_seed(seed)
    mean, std = given.mean(), given.std()
    body = [layer for wide, wider in ((1, 16), (16, 32), (32, 64)) for layer in block(wide, wider)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, n_classes)]
    network = nn.Sequential(Standardized(mean, std), *body, *head)
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    for _ in range(epochs):
        for batch in torch.randperm(len(given)).split(BATCH):
            loss = functional.cross_entropy(network(given[batch]), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


def block(wide: int, wider: int) -> list[nn.Module]:
    return [nn.Conv2d(wide, wider, 3, padding=1), nn.BatchNorm2d(wider), nn.ReLU(), nn.MaxPool2d(2)]


class Standardized(nn.Module):
    """Levels less the mean of the training's, over their standard deviation."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, levels_db: Tensor) -> Tensor:
        return (levels_db - self.mean) / self.std


@torch.no_grad()
def macro_f1(network: nn.Module, given: Tensor, labels: Tensor) -> float:
    predicted = network(given).argmax(dim=1)
    scores = []
    for label in labels.unique():
        right = ((predicted == label) & (labels == label)).sum()
        scores.append(2 * right / ((predicted == label).sum() + (labels == label).sum()))
    return float(torch.stack(scores).mean())


if __name__ == "__main__":
    main()
