"""Sounds and runs that several tests share."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE_HZ = 22_050
SOURCE, TARGET = "xperia1v", "pixel3"


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one JSON object on standard output."""
        assert self.stdout.count("\n") == 1
        return json.loads(self.stdout)


def noise(seconds: float = 2.0, seed: int = 0, rate_hz: int = RATE_HZ, channels: int = 1) -> np.ndarray:
    """White noise at -20 dB re full scale. Shape: [n] or [n, channels]."""
    return _noise(seconds, seed, rate_hz, channels).copy()


@lru_cache(maxsize=256)
def _noise(seconds: float, seed: int, rate_hz: int, channels: int) -> np.ndarray:
    shape = round(seconds * rate_hz) if channels == 1 else (round(seconds * rate_hz), channels)
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


_ENCODED: dict[tuple[Any, ...], bytes] = {}
"""Files of what was written before: most tests want the same few sounds, and FLAC takes its time."""
_MOST_ENCODED, _LARGEST_ENCODED_BYTES = 1000, 500_000


def write_audio(path: Path, samples: np.ndarray | None = None, rate_hz: int = RATE_HZ, **options: Any) -> Path:
    """Write samples (default: two seconds of noise) to `path`, in the format that its suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.ascontiguousarray(noise() if samples is None else samples)
    content = (hashlib.sha1(samples).digest(), samples.shape, samples.dtype.str)
    key = (*content, rate_hz, path.suffix.lower(), *sorted(options.items()))
    if (encoded := _ENCODED.get(key)) is not None:
        path.write_bytes(encoded)
        return path
    soundfile.write(path, samples, rate_hz, **options)
    if len(_ENCODED) < _MOST_ENCODED and path.stat().st_size <= _LARGEST_ENCODED_BYTES:
        _ENCODED[key] = path.read_bytes()
    return path


def plan_text(content: Any) -> str:
    """Return `content` as JSON; where it has a list `files`, laid out as `run.json` is."""
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, list):
        return json.dumps(content)
    head = json.dumps({name: value for name, value in content.items() if name != "files"}, indent=2)
    lines = ",\n".join("    " + json.dumps(file) for file in files)
    return head.removesuffix("\n}") + f',\n  "files": [\n{lines}\n  ]\n}}\n'


def damage_flac(path: Path) -> Path:
    """Replace most of the first half of a FLAC file by zeros: its length stays true, and it cannot be decoded."""
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[2_000:half] = bytes(half - 2_000)
    path.write_bytes(content)
    return path
