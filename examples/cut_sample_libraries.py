"""Cut sets of real devices for `evaluate_real_devices.py` out of published sample libraries.

    git clone https://github.com/sfzinstruments/karoryfer.gogodze-phu-vol-ii
    python examples/cut_sample_libraries.py gogodze karoryfer.gogodze-phu-vol-ii DATA/mics

Some libraries hold what several microphones recorded at once, in a file for each. The first second of each file becomes
a clip (mono, 22,050 Hz, FLAC), and manifest.csv says device, label and recording. Recordings that a device lacks and
labels with fewer than eight recordings are left out.

| set | repository of github.com/sfzinstruments | devices | license |
|---|---|---|---|
| gogodze | karoryfer.gogodze-phu-vol-ii | four microphones around a drum kit (front, overhead, vintage, window) | CC0 |
| cajon | karoryfer.gogodze-phu-vol-i | a condenser and a dynamic microphone at a cajon | CC0 |
| muldjord | DrumGizmo.MuldjordKit | four microphones of a drum kit (room, overhead, hi-hat, tom) | CC BY 4.0 |
| guitar | karoryfer.shinyguitar | a microphone and the pickup of an archtop guitar | CC0 |
"""

import argparse
import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE_HZ, LENGTH_S, READ_S = 22_050, 1.0, 1.2
"""A little more is read than kept, so that the filter of the resampler does not see an end."""
SHORTEST_S = 0.05
"""One library holds a stroke of six samples."""
FEWEST_OF_A_LABEL = 8
PATTERNS = {
    "gogodze": r"Samples/(?P<device>front|oh|retro|wndw)_mic/(?P<recording>(?P<label>[a-z]+)_.*)\.wav",
    "cajon": r"Samples/cajon/\w+/(?P<recording>cajon_(?P<label>[a-z]+\d*)_.*)_(?P<device>cnd|dyn)\.wav",
    "muldjord": r".*/Samples/(?P<label>\w+)/(?P<recording>\d+-\w+)-(?P<device>AmbL|OHL|Hihat|Tom1)\.flac",
    "guitar": r"Samples/(?P<device>acoustic|electric)/(?P<recording>(?P<label>[a-z]+\d*)_(?!.*release).*)_[12]\.wav",
}
"""Of a file's path in the library."""


@dataclass(frozen=True)
class Clip:
    """A row of the manifest."""

    path: str
    device: str
    label: str
    recording: str


def matching(library: Path, pattern: str) -> Iterator[tuple[Path, Clip]]:
    """Yield the files of a library, and what becomes of them."""
    for path in sorted(library.rglob("*.*")):
        found = re.fullmatch(pattern, path.relative_to(library).as_posix())
        if found and soundfile.info(path).duration >= SHORTEST_S:
            own = found.groupdict()
            yield path, Clip(f"data/{own['device']}/{own['label']}/{own['recording']}.flac", **own)


def complete(clips: list[Clip]) -> set[str]:
    """Return the recordings that every device has, of the labels with enough of them."""
    n_devices = len({clip.device for clip in clips})
    of_recording = Counter(clip.recording for clip in clips)
    labels = {clip.recording: clip.label for clip in clips if of_recording[clip.recording] == n_devices}
    of_label = Counter(labels.values())
    return {recording for recording, label in labels.items() if of_label[label] >= FEWEST_OF_A_LABEL}


def cut(source: Path, target: Path) -> None:
    """Write the first second of a file; what is shorter ends in silence."""
    with soundfile.SoundFile(source) as file:
        samples = file.read(int(READ_S * file.samplerate), always_2d=True)
    clip = soxr.resample(samples.mean(axis=1), file.samplerate, RATE_HZ)[: round(LENGTH_S * RATE_HZ)]
    clip = np.pad(clip, (0, round(LENGTH_S * RATE_HZ) - len(clip)))
    target.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(target, np.clip(clip, -1, 1), RATE_HZ, subtype="PCM_16")


def main() -> None:
    """Cut one set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=PATTERNS)
    parser.add_argument("library", type=Path, help="folder of the repository")
    parser.add_argument("output", type=Path, help="the set becomes a folder in it")
    options = parser.parse_args()
    found = list(matching(options.library, PATTERNS[options.set]))
    if not found:
        parser.error(f"{options.library} does not hold the samples of {options.set}")
    kept = complete([clip for _, clip in found])
    rows = [(path, clip) for path, clip in found if clip.recording in kept]
    folder = options.output / options.set
    for path, clip in rows:
        cut(path, folder / clip.path)
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([field.name for field in fields(Clip)])
        table.writerows(astuple(clip) for _, clip in rows)
    print(f"{folder}: {len(kept)} recordings on {len(rows) // len(kept)} devices")


if __name__ == "__main__":
    main()
