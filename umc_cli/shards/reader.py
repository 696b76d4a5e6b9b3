"""Shards as a torch `Dataset`, safe with any number of loader workers."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from umc_cli.audio.names import plain_name
from umc_cli.errors import InputError, SettingsError
from umc_cli.hdf5_dataset import BROKEN, refusal
from umc_cli.shards import schema


class ShardDataset(Dataset[tuple[Tensor, int]]):
    """Pairs of a log-mel spectrogram [1, 80, 80] (float32, dB) and the index of its label in `labels`.

    Files are opened on first use, in the process that reads them: an HDF5 handle does not survive a fork.
    """

    def __init__(self, root: Path | str, split: str | None = None, labels: Sequence[str] | None = None) -> None:
        """Read the labels and splits of all shards below `root`; spectrograms stay on disk.

        `root`: an output root (all targets) or the folder of one target. `split`: only its segments. `labels`: their
        order; default: all labels below `root`, in whichever split, sorted. So an index means the same in every split.

        Raises:
            SettingsError: no shards, or a label that `labels` lacks.
            InputError: a shard is damaged or of an unknown version.
        """
        self._paths = schema.find_shards(Path(root))
        self._files: dict[int, Any] = {}
        self._owner = os.getpid()
        shard, row, texts = [], [], []
        found: set[str] = set()
        for index, path in enumerate(self._paths):
            with schema.open_shard(path) as file:
                n_rows = schema.read_header(file).n_segments
                schema.column(file, schema.LOG_MEL, n_rows)
                splits = schema.read_texts(file, "split", n_rows)
                keep = np.flatnonzero(splits == split) if split else np.arange(len(splits))
                shard.append(np.full(len(keep), index))
                row.append(keep)
                of_rows = schema.read_texts(file, "label", n_rows)
                found.update(of_rows.tolist())
                texts.append(of_rows[keep])
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

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        shard = int(self._shard[index])
        try:
            log_mel = self._open(shard)[schema.LOG_MEL][int(self._row[index])]
        except BROKEN as error:
            if fault := refusal(self._paths[shard], error):
                raise fault from error
            raise InputError(f"{self._paths[shard]}: a spectrogram is damaged: {error}", "convert again") from error
        return torch.from_numpy(log_mel.astype(np.float32)).unsqueeze(0), int(self._label[index])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}

    def _open(self, shard: int) -> Any:
        owner = os.getpid()
        if self._owner != owner:
            self._files, self._owner = {}, owner
        if shard not in self._files:
            self._files[shard] = schema.open_shard(self._paths[shard])
        return self._files[shard]
