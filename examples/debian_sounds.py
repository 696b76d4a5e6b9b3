"""Fetch free recordings from Debian packages: speech of some thirty languages, drums, machines, animals, games.

    python examples/debian_sounds.py <folder> [--list]

Downloads the packages below with `apt-get download` (Debian 12; about 500 MB), unpacks them into <folder>, and reads
2,467 sounds out of them, up to 3.2 s each, with what groups them (speaker, language, drum kit, collection). Nothing of
them is part of this repository. Their licences stand in `<folder>/usr/share/doc/<package>/copyright`.
"""

import argparse
import io
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ

LONGEST_S = 3.2
SHORTEST_S = 0.18
PEAK = 0.5
_AUDIBLE = 0.02
"""Of the peak: what lies before the first and after the last such sample is cut off."""
_SUFFIXES = {".wav", ".ogg", ".oga", ".flac", ".mp3"}


@dataclass(frozen=True)
class Package:
    """A Debian package with sounds."""

    name: str
    version: str
    licences: str
    folder: str
    group: Callable[[Path], str]
    """Of a file, below `folder`."""
    most: int
    most_a_group: int


def _top(place: Path) -> str:
    return place.parts[0]


def _speaker(place: Path) -> str:
    return place.parent.name


def _stem(place: Path) -> str:
    return place.name.split("_")[0]


def _stamp(place: Path) -> str:
    """Tux Paint names files `<thing>_desc_<language>.ogg` for words that are read out, and `<thing>.ogg` for sounds."""
    name = place.stem
    return (name.split("_desc")[-1].strip("_") or "en") if "_desc" in name else "sounds"


PACKAGES = (
    Package("asterisk-core-sounds-en-wav", "1.6.1-1", "CC BY-SA 3.0", "usr/share/asterisk/sounds", _top, 150, 150),
    Package(
        "asterisk-prompt-it-menardi-wav",
        "1:1.4.22+mm20110907-3.1",
        "CC BY-SA 3.0",
        "usr/share/asterisk/sounds",
        _top,
        100,
        100,
    ),
    Package("klettres-data", "4:22.12.3-1", "GPL-2+", "usr/share/klettres", _top, 420, 24),
    Package("sonic-pi-samples", "3.2.2~repack-8", "CC0", "usr/share/sonic-pi", _stem, 170, 170),
    Package("wesnoth-1.16-data", "1:1.16.9-1", "GPL-2+", "usr/share/games/wesnoth", _top, 230, 230),
    Package("hedgewars-data", "1.0.2-6", "GPL-2", "usr/share/games/hedgewars", _speaker, 400, 22),
    Package(
        "hydrogen-drumkits",
        "2017.09.19~dfsg-1",
        "GPL-2+, CC BY 3.0, CC BY-SA 3.0, CC0",
        "usr/share/hydrogen/data/drumkits",
        _top,
        420,
        34,
    ),
    Package("tuxpaint-stamps-default", "2022.06.04-1", "GPL-2", "usr/share/tuxpaint/stamps", _stamp, 700, 60),
    Package("sound-theme-freedesktop", "0.8-2", "CC BY-SA 3.0, GPL-2+, CC BY 3.0", "usr/share/sounds", _top, 35, 35),
    Package("openttd-opensfx", "1.0.3-2", "CC BY-SA 3.0", "usr/share/games/openttd/baseset/opensfx", _top, 100, 100),
)


def fetch(folder: Path) -> None:
    """Download and unpack the packages that `folder` does not hold yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if (folder / "usr/share/doc" / package.name).is_dir():
            continue
        subprocess.run(["apt-get", "download", f"{package.name}={package.version}"], cwd=folder, check=True)
        (archive,) = folder.glob(f"{package.name}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=folder, check=True)
        archive.unlink()


def read_debian_sounds(folder: Path) -> tuple[list[np.ndarray], list[str]]:
    """Return sounds at 22,050 Hz with a peak of 0.5, and the group of each; the same at every call."""
    random = np.random.default_rng(0)
    sounds, groups = [], []
    for package in PACKAGES:
        for name, samples, rate_hz in _chosen(folder, package, random):
            if (sound := _cut(samples, rate_hz, random)) is not None:
                sounds.append(sound)
                groups.append(f"{package.name}/{name}")
    return sounds, groups


def _chosen(folder: Path, package: Package, random: np.random.Generator) -> Iterator[tuple[str, np.ndarray, int]]:
    root = folder / package.folder
    by_group: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        # Two packages share a folder: each has its own subfolders, named after the language.
        is_other = package.name == "asterisk-core-sounds-en-wav" and "it_IT_f_Menardi" in path.parts
        is_other |= package.name == "asterisk-prompt-it-menardi-wav" and "it_IT_f_Menardi" not in path.parts
        if path.suffix.lower() in _SUFFIXES and not is_other:
            by_group.setdefault(package.group(path.relative_to(root)), []).append(path)
    listed = [
        (name, paths[index])
        for name, paths in sorted(by_group.items())
        for index in random.permutation(len(paths))[: package.most_a_group]
    ]
    for index in random.permutation(len(listed))[: package.most]:
        name, path = listed[index]
        try:
            samples, rate_hz = soundfile.read(path, 30 * 48_000, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            continue  # some Ogg files hold what libsndfile cannot read
        yield name, samples[:, 0], rate_hz
    for path in sorted(root.glob("*.cat")):  # OpenTTD's archive: WAV files one after the other
        content = path.read_bytes()
        for match in re.finditer(b"RIFF", content):
            size = 8 + int.from_bytes(content[match.start() + 4 : match.start() + 8], "little")
            try:
                samples, rate_hz = soundfile.read(
                    io.BytesIO(content[match.start() : match.start() + size]), dtype="float32", always_2d=True
                )
            except soundfile.LibsndfileError:
                continue  # the four letters stood in a sound
            yield path.stem, samples[:, 0], rate_hz


def _cut(samples: np.ndarray, rate_hz: int, random: np.random.Generator) -> np.ndarray | None:
    """Return a stretch with sound in it; None where there is none."""
    if not len(samples):
        return None
    sound = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="HQ")
    sound = sound - sound.mean()
    audible = np.flatnonzero(np.abs(sound) > _AUDIBLE * np.abs(sound).max())
    if not len(audible):
        return None
    sound = sound[max(0, audible[0] - 500) : audible[-1] + 3_000]
    longest = round(LONGEST_S * SAMPLE_RATE_HZ)
    if len(sound) > longest:
        start = int(random.integers(len(sound) - longest))
        sound = sound[start : start + longest]
    peak = np.abs(sound).max()
    if len(sound) < SHORTEST_S * SAMPLE_RATE_HZ or peak < 1e-3:
        return None
    return (PEAK / peak * sound).astype(np.float32)


def main() -> None:
    """Fetch, and say what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", action="store_true", help="name the packages and their licences only")
    options = parser.parse_args()
    if options.list:
        for package in PACKAGES:
            print(f"{package.name} {package.version}: {package.licences}")
        return
    fetch(options.folder)
    sounds, groups = read_debian_sounds(options.folder)
    hours = sum(map(len, sounds)) / SAMPLE_RATE_HZ / 3_600
    print(f"{len(sounds)} sounds in {len(set(groups))} groups, {hours:.2f} hours")


if __name__ == "__main__":
    main()
