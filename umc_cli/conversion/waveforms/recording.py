"""One recording of the source becomes an audio file for every target."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from umc_cli.atomic_write import atomic_path
from umc_cli.audio.files import AudioHeader, own_rate_blocks
from umc_cli.audio.time_limit import within
from umc_cli.conversion.waveforms.blending import ConvertSegments
from umc_cli.conversion.waveforms.converting import noise_seed
from umc_cli.conversion.waveforms.following import KnownTarget
from umc_cli.conversion.waveforms.stream import Samples, convert_blocks
from umc_cli.errors import EnvironmentFault, InputError
from umc_cli.shards.audio_index import sha256_of
from umc_cli.shards.audio_settings import AudioSettings

_LONGEST_WAV_BYTES = 4_000_000_000
"""A WAV file counts its bytes in 32 bits; what is longer becomes RF64."""
_SUBTYPES = {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}
_MOST_FLAC_HZ = 655_350
_MOST_FLAC_CHANNELS = 8


@dataclass(frozen=True)
class Written:
    """What was written for one target."""

    sample_rate_hz: int
    channels: int
    frames: int
    peak: float
    n_clipped: int
    sha256: Mapping[str, str]
    """By the suffix of the file."""


def convert_recording(
    path: Path,
    header: AudioHeader,
    outputs: Mapping[str, Path],
    settings: AudioSettings,
    convert: ConvertSegments,
    known: Mapping[str, KnownTarget],
    seed: int,
    timeout_s: float,
    ended: threading.Event,
) -> dict[str, Written]:
    """Write what every target would have recorded. Its files appear when they are complete.

    `outputs`: by target, the path without suffix. `timeout_s`: for each part of the recording that is read.
    `ended`: set when nobody waits for the result any more.

    Raises:
        InputError: the recording cannot be read, holds nothing but zeros, or has a rate that FLAC has not.
        SettingsError: the converter gave levels that are not finite.
        EnvironmentFault: a file cannot be written.
    """
    rate = settings.sample_rate_hz or header.sample_rate_hz
    if "flac" in settings.kinds and rate > _MOST_FLAC_HZ:
        raise InputError(f"has a sample rate of {rate} Hz, which FLAC has not", "give --rate, or --write wav")
    channels = [*range(1, header.channels + 1)] if settings.keeps_channels else [settings.channel]
    if "flac" in settings.kinds and len(channels) > _MOST_FLAC_CHANNELS:
        raise InputError(f"has {len(channels)} channels, more than FLAC", "give --write wav, or no --keep-channels")
    with ExitStack() as open_files:
        writers = {
            target: _Writer(open_files, output, settings, rate, len(channels), header)
            for target, output in outputs.items()
        }
        is_silent = True

        def blocks(channel: int | None) -> Iterator[Samples]:
            nonlocal is_silent
            read = own_rate_blocks(path, header, channel)
            while (block := within(timeout_s, lambda: next(read, None))) is not None:
                is_silent = is_silent and not block.any()
                yield block

        converted = [
            convert_blocks(blocks(channel), header.sample_rate_hz, convert, known, noise_seed(seed, number))
            for number, channel in enumerate(channels)
        ]
        for parts in zip(*converted, strict=True):
            if ended.is_set():
                raise InputError("was not converted: the run ended", "run again")
            for target, writer in writers.items():
                writer.add(np.stack([part[target] for part in parts], axis=1))
        if is_silent:
            raise InputError("is silent: every sample is zero", "check the recording, or leave it out")
        return {target: writer.finish() for target, writer in writers.items()}


class _Writer:
    """The files of one target, with the run's gain, at the rate that is wanted."""

    def __init__(
        self, files: ExitStack, output: Path, settings: AudioSettings, rate: int, channels: int, header: AudioHeader
    ) -> None:
        self._is_float = settings.bit_depth == "float"
        self._bits = 0 if self._is_float else int(settings.bit_depth)
        self._gain = np.float32(10 ** (settings.gain_db / 20))
        self._channels, self._rate = channels, rate
        self._n_wanted = round(header.frames * rate / header.sample_rate_hz)
        self._resampler = (
            soxr.ResampleStream(header.sample_rate_hz, rate, channels, dtype="float32", quality="HQ")
            if rate != header.sample_rate_hz
            else None
        )
        self._n_written, self._peak, self._n_clipped = 0, 0.0, 0
        self._files: dict[str, tuple[Path, soundfile.SoundFile]] = {}
        for kind in settings.kinds:
            place = files.enter_context(atomic_path(output.with_name(f"{output.name}.{kind}")))
            is_long = self._n_wanted * channels * 4 > _LONGEST_WAV_BYTES
            with _explained(place):
                file = soundfile.SoundFile(
                    str(place), "w", rate, channels, _SUBTYPES[settings.bit_depth],
                    format="FLAC" if kind == "flac" else "RF64" if is_long else "WAV",
                )  # fmt: skip
            self._files[kind] = place, files.enter_context(file)

    def add(self, samples: NDArray[np.float32]) -> None:
        """Shape: [n, channels]."""
        self._write(samples if self._resampler is None else self._resampler.resample_chunk(samples))

    def finish(self) -> Written:
        """Close the files and look at them."""
        if self._resampler is not None:
            self._write(self._resampler.resample_chunk(np.empty((0, self._channels), np.float32), last=True))
        self._write(np.zeros((self._n_wanted - self._n_written, self._channels), np.float32))
        sums = {}
        for kind, (path, file) in self._files.items():
            with _explained(path):
                file.close()
                n_frames = soundfile.info(str(path)).frames
            if n_frames != self._n_wanted:
                raise EnvironmentFault(f"{path} did not read back as written", "check the disk")
            sums[kind] = sha256_of(path)
        return Written(self._rate, self._channels, self._n_wanted, self._peak, self._n_clipped, sums)

    def _write(self, samples: NDArray[np.float32]) -> None:
        samples = self._gain * samples[: self._n_wanted - self._n_written]
        self._n_written += len(samples)
        if not len(samples):
            return
        magnitude = np.abs(samples)
        self._peak = max(self._peak, float(magnitude.max()))
        if not self._is_float:
            self._n_clipped += int((magnitude > 1).sum())
        stored = samples if self._is_float else self._as_integers(samples)
        for path, file in self._files.values():
            with _explained(path):
                file.write(stored)

    def _as_integers(self, samples: NDArray[np.float32]) -> NDArray[np.int16] | NDArray[np.int32]:
        """Round to the bits of the file. The 24 of libsndfile are the upper ones of 32."""
        full = 1 << (self._bits - 1)
        rounded = np.clip(np.rint(samples.astype(np.float64) * full), -full, full - 1)
        return rounded.astype(np.int16) if self._bits == 16 else rounded.astype(np.int32) << (32 - self._bits)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what libsndfile says of a file that it cannot write into an `EnvironmentFault`."""
    try:
        yield
    except soundfile.SoundFileError as error:
        raise EnvironmentFault(
            f"cannot write {path}: {error}", "free disk space, then run the same command again"
        ) from error
