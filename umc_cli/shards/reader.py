"""Shards as a torch `Dataset`, safe with any number of loader workers."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from umc_cli.audio.names import plain_name
from umc_cli.errors import InputError, SettingsError, did_you_mean
from umc_cli.hdf5_dataset import BROKEN, refusal
from umc_cli.shards import schema
from umc_cli.shards.updates import LiveRows, find_shards
from umc_cli.splits import KNOWN_NAMES, SPLIT_NAMES, role

ITEM = ("log_mel", "label")
"""What a sample is made of where nothing else is asked for."""

_COLUMNS = {"path": "source_path"}
"""Names of columns in a shard, where they are others than in a sample."""


class ShardDataset(Dataset[tuple[Any, ...]]):
    """Samples of shards: a log-mel spectrogram [1, 80, 80] (float32, dB) and the index of its label in `labels`.

    `item` asks for more or other parts. Where the source was kept (`umc convert --with-source`) its rows are among
    them, with the source as their target. Where the run was updated (`umc convert --update`), samples of recordings
    that were replaced or are gone are left out, and those of complete updates come at the end.

    Files are opened on first use, in the process that reads them: an HDF5 handle does not survive a fork.
    """

    def __init__(
        self,
        root: Path | str,
        split: str | None = None,
        labels: Sequence[str] | None = None,
        *,
        item: Sequence[str] = ITEM,
    ) -> None:
        """Read the labels and splits of all shards below `root`; spectrograms stay on disk.

        `root`: an output root (all targets) or the folder of one target. `split`: only its segments, whether shards
        call it by its name of today or by that of version 0.1.0. `labels`: their order; default: all labels below
        `root`, in whichever split, sorted. So an index means the same in every split.
        `item`: the parts of a sample, in order: `log_mel`, `label` (an index), `target` and `source` (device ids),
        `recording`, `path`, `split`, `segment_start` and `segment_index` (numbers), `extra/<column of the manifest>`
        (empty where a shard lacks it).

        Raises:
            SettingsError: no shards, a label that `labels` lacks, or a split or part that is unknown.
            InputError: a shard is damaged or of an unknown version.
        """
        self._paths = find_shards(Path(root))
        live_rows = LiveRows()
        self._files: dict[int, Any] = {}
        self._owner = os.getpid()
        if split and split not in KNOWN_NAMES:
            raise SettingsError(f"unknown split {split!r}", did_you_mean(split, SPLIT_NAMES, "splits"))
        wanted = role(split) if split else None
        self.item = tuple(item)
        kept: dict[str, list[Any]] = {name: [] for name in self.item if name not in ITEM}
        shard, row, texts = [], [], []
        found: set[str] = set()
        further: set[str] = set()
        for index, path in enumerate(self._paths):
            with schema.open_shard(path) as file:
                header = schema.read_header(file)
                n_rows = header.n_segments
                schema.column(file, schema.LOG_MEL, n_rows)
                further.update(name for name in schema.column_names(file) if name.startswith(f"{schema.EXTRA}/"))
                splits = schema.read_texts(file, "split", n_rows)
                live = live_rows.of(path, file, n_rows)
                live = np.ones(n_rows, dtype=bool) if live is None else live
                of_split = np.array([role(name) == wanted for name in splits], dtype=bool) if wanted else live
                keep = np.flatnonzero(live & of_split)
                shard.append(np.full(len(keep), index))
                row.append(keep)
                of_rows = schema.read_texts(file, "label", n_rows)
                found.update(of_rows[live].tolist())
                texts.append(of_rows[keep])
                for name, values in kept.items():
                    values.append(_part(file, name, header)[keep])
        _check_item(self.item, further)
        self._shard, self._row = np.concatenate(shard), np.concatenate(row)
        names = np.concatenate(texts).tolist()
        # Shards of earlier versions may hold a label as folders spelled it.
        plain = {name: plain_name(name) for name in found}
        self.labels = list(labels) if labels is not None else sorted(set(plain.values()))
        order = {plain_name(name): index for index, name in enumerate(self.labels)}
        unknown = sorted({plain[name] for name in set(names)} - set(order))
        if unknown:
            raise SettingsError(f"label {unknown[0]!r} is not among the given labels", "add it to `labels`")
        self._label = np.array([order[plain[name]] for name in names], dtype=np.int64)
        self._parts = {name: np.concatenate(values).tolist() for name, values in kept.items()}

    @property
    def class_counts(self) -> Tensor:
        """Return how many samples each label has. Shape: [number of labels], int64."""
        return torch.from_numpy(np.bincount(self._label, minlength=len(self.labels)))

    def class_weights(self) -> Tensor:
        """Return weights of the classes for a loss, so that each counts the same whatever its number of samples.

        n / (k n_c) for the n_c samples of class c, of n in the k classes that have any; their mean over the samples is
        1. A class without samples has the weight 0. Shape: [number of labels], float32.
        """
        counts = self.class_counts.double()
        n_classes = int((counts > 0).sum())
        weights = counts.sum() / (max(n_classes, 1) * counts.clamp_min(1))
        return torch.where(counts > 0, weights, 0.0).float()

    def sample_weights(self) -> Tensor:
        """Return the weight of every sample's class, for `torch.utils.data.WeightedRandomSampler`.

        Shape: [number of samples], float64.
        """
        return self.class_weights().double()[torch.from_numpy(self._label)]

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(self._get(name, index) for name in self.item)

    def _get(self, name: str, index: int) -> Any:
        if name == "log_mel":
            return self._log_mel(index)
        return int(self._label[index]) if name == "label" else self._parts[name][index]

    def _log_mel(self, index: int) -> Tensor:
        shard = int(self._shard[index])
        try:
            log_mel = self._open(shard)[schema.LOG_MEL][int(self._row[index])]
        except BROKEN as error:
            if fault := refusal(self._paths[shard], error):
                raise fault from error
            raise InputError(f"{self._paths[shard]}: a spectrogram is damaged: {error}", "convert again") from error
        return torch.from_numpy(log_mel.astype(np.float32)).unsqueeze(0)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}

    def _open(self, shard: int) -> Any:
        owner = os.getpid()
        if self._owner != owner:
            self._files, self._owner = {}, owner
        if shard not in self._files:
            self._files[shard] = schema.open_shard(self._paths[shard])
        return self._files[shard]


def _check_item(item: Sequence[str], further: set[str]) -> None:
    known = (*ITEM, "target", "source", "recording", "path", "split", *schema.NUMBER_COLUMNS, *sorted(further))
    unknown = [name for name in item if name not in known]
    if unknown or not item:
        what = f"a sample has no part {unknown[0]!r}" if unknown else "a sample without any part was asked for"
        raise SettingsError(what, did_you_mean(unknown[0] if unknown else "", known, "parts"))


def _part(file: Any, name: str, header: schema.ShardHeader) -> NDArray[Any]:
    """Return a part of all samples of a shard; empty texts for one that it lacks. Shape: [n_segments]."""
    n_rows = header.n_segments
    if name in ("target", "source"):
        return np.full(n_rows, getattr(header, name), dtype=object)
    if name in schema.NUMBER_COLUMNS:
        return schema.read_column(file, name, n_rows)
    column = _COLUMNS.get(name, name)
    return schema.read_texts(file, column, n_rows) if column in schema.column_names(file) else np.full(n_rows, "")
