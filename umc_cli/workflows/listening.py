"""Sounds to listen to, side by side: as recorded, as converted, as the target recorded them."""

from pathlib import Path

import numpy as np
import soundfile

from umc_cli import atomic_write
from umc_cli.audio.files import own_rate_blocks, read_header
from umc_cli.conversion.chosen.conversion import Conversion


def write_listening(folder: Path, name: str, recorded: Path, target: str, true: Path, conversion: Conversion) -> None:
    """Write `<name>-1-recorded.flac`, `-2-converted.flac` and `-3-target.flac`, 24 bit, with one gain for the three.

    `true`: what the target recorded of the same sound.

    Raises:
        InputError: a recording cannot be read.
        EnvironmentFault: the folder cannot be written.
    """
    rate = read_header(recorded).sample_rate_hz
    given, own = (np.concatenate([*own_rate_blocks(path, read_header(path))]) for path in (recorded, true))
    sounds = {"1-recorded": given, "2-converted": conversion.waveform(given, rate, target), "3-target": own}
    loudest = max(float(np.abs(samples).max()) for samples in sounds.values())
    for number, samples in sounds.items():
        with atomic_write.atomic_path(folder / f"{name}-{number}.flac") as partial:
            soundfile.write(partial, samples / max(1.0, loudest), rate, "PCM_24", format="FLAC")
