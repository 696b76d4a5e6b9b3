"""Which recordings `umc convert` takes, and why there are none where there are none."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from umc_cli.audio.channel_mix import FAR_BELOW_DB, NOTHING_LOST, Mix, compare_mix
from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ
from umc_cli.audio.manifest import MANIFEST_NAMES, Clip, FailedInput, Recordings
from umc_cli.audio.time_limit import within
from umc_cli.errors import InputError, SettingsError, guess
from umc_cli.response.device import check_device_id, is_device_id
from umc_cli.shards.planned_files import PlannedFile
from umc_cli.splits import role

_REASONS_SHOWN = 3
_LOOKED_AT = 32
"""Maximum number of recordings whose channels are compared: about a second."""
_OF_A_ROW = re.compile(r"^\S+ line \d+: ")


def passed_over_text(passed_over: Mapping[str, int]) -> str:
    """Return `12 .txt, 3 without suffix`."""
    return ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in passed_over.items())


def odd_devices(clips: Sequence[Clip]) -> list[str]:
    """Return a warning for each device whose name cannot be one."""
    return [
        f"recordings of {device!r} are left out: that is not a device id (letters, digits, dots, dashes, underscores)"
        for device in sorted({clip.device for clip in clips})
        if not is_device_id(device)
    ]


def select_clips(
    recordings: Recordings,
    source: str,
    labels: Collection[str],
    splits: Collection[str],
    data: Path,
    *,
    are_listed: bool,
    known_devices: Collection[str],
) -> list[Clip]:
    """Return the recordings of `source` that have one of the labels and splits (none given: any), in order.

    Raises:
        SettingsError: there are none, and why; but a list of files that all fail is a run whose inputs failed.
    """
    check_device_id(source)
    found = [clip for clip in recordings.clips if clip.device == source]
    wanted_roles = {role(split) for split in splits}
    for name, wanted, present in (
        ("label", labels, {clip.label for clip in found}),
        ("split", wanted_roles, {clip.role for clip in found}),
    ):
        for value in wanted:
            if found and value not in present:
                raise SettingsError(
                    f"no recording of {source} has {name} {value!r}",
                    f"{guess(value, present)}there are: {', '.join(sorted(present))}",
                )
    matching = [
        clip for clip in found if (not labels or clip.label in labels) and (not splits or clip.role in wanted_roles)
    ]
    if found and not matching:
        raise SettingsError(
            f"no recording of {source} has both that label and that split", "leave out --label or --split"
        )
    if not found and not (are_listed and recordings.failed):
        if are_listed:
            raise SettingsError(
                f"no recordings of {source!r}: the list of files is empty",
                "list audio files, one per line, or leave the list out to convert all in the data folder",
            )
        raise _none_in(data, recordings, source, known_devices)
    return sorted(matching, key=lambda clip: clip.file)


def _none_in(data: Path, recordings: Recordings, source: str, known_devices: Collection[str]) -> SettingsError:
    """Say why a data folder holds no recording of `source`."""
    devices = sorted({clip.device for clip in recordings.clips})
    manifest = next((name for name in MANIFEST_NAMES if (data / name).is_file()), None)
    message = f"no recordings of {source!r} in {data}"
    remedies = []
    if devices:
        remedies.append(f"{guess(source, devices)}there are recordings of: {', '.join(devices)}")
        if not manifest and not set(devices) & {*known_devices}:
            remedies.append(
                f"if these are labels, move them into {data / source}: "
                "the first folder names the device, the second the label"
            )
    if recordings.failed:
        message += f"; failed: {_reasons(recordings.failed)}"
        remedies.append(recordings.failed[0].hint)
    elif not devices and manifest:
        message += f": {manifest} lists none"
    elif not devices and recordings.passed_over:
        message += f", only files whose names are not those of audio files: {passed_over_text(recordings.passed_over)}"
    elif not devices:
        message += ": it holds no files"
    if not devices and not recordings.failed:
        remedies.append(f"put recordings into {data}/<device>/<label>/, or list audio files as arguments")
    return SettingsError(message, "; ".join(filter(None, remedies)))


def _reasons(failed: Sequence[FailedInput]) -> str:
    """Return what failed by reason, the most frequent first, each with an example."""
    by_reason: dict[str, list[str]] = {}
    for entry in failed:
        by_reason.setdefault(_OF_A_ROW.sub("", entry.reason), []).append(entry.path)
    parts = []
    for reason, paths in sorted(by_reason.items(), key=lambda item: -len(item[1]))[:_REASONS_SHOWN]:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        parts.append(f"{paths[0]}{more}: {reason}")
    more = f"; and {len(by_reason) - len(parts)} more reasons" if len(by_reason) > len(parts) else ""
    return "; ".join(parts) + more


def channel_warnings(files: Iterable[PlannedFile], root: Path, workers: int, timeout_s: float) -> list[str]:
    """Warn of recordings whose channels cancel when they are mixed, or hold nothing.

    Some, spread over all, are looked at. `root`: what their relative paths start from. `timeout_s`: for each.
    """
    chosen: list[PlannedFile] = []
    stride = 1
    for number, file in enumerate(file for file in files if file.channels > 1):
        if number % stride == 0:
            chosen.append(file)
            if len(chosen) > _LOOKED_AT:
                chosen, stride = chosen[::2], 2 * stride

    def mix(file: PlannedFile) -> Mix:
        try:
            return within(timeout_s, lambda: compare_mix(root / file.path, file.header))
        except InputError:  # it is listed as failed where it is converted
            return NOTHING_LOST

    with ThreadPoolExecutor(workers) as pool:
        mixes = list(zip(chosen, pool.map(mix, chosen), strict=True))
    among = f"of {len(chosen)} recordings with several channels that were looked at"
    warnings = []
    cancelling = [(file, mix) for file, mix in mixes if mix.cancels]
    if cancelling:
        file, worst = min(cancelling, key=lambda entry: entry[1].loss_db)
        warnings.append(
            f"channels cancel: in {len(cancelling)} {among} the mean of all lies more than {-FAR_BELOW_DB:.0f} dB "
            f"below the loudest ({file.path}: {-worst.loss_db:.0f} dB); one may be inverted: choose one with "
            "--channel 1"
        )
    dead = [(file, mix) for file, mix in mixes if mix.dead is not None and not mix.cancels]
    if dead:
        file, first = dead[0]
        warnings.append(
            f"channels hold next to nothing: in {len(dead)} {among} ({file.path}: channel {first.dead}), so that the "
            f"mean of all is too quiet, there by {-first.loss_db:.0f} dB: choose one with --channel {first.loudest}"
        )
    return warnings


def header_warnings(files: Iterable[PlannedFile]) -> list[str]:
    """Warn of recordings that give no segment, and of sample rates too low for the highest bands.

    Goes through the files once: many lie on the disk.
    """
    n_files = n_short = n_low = 0
    short: PlannedFile | None = None
    lowest: PlannedFile | None = None
    for file in files:
        n_files += 1
        if not file.n_segments:
            n_short += 1
            short = short or file
        if file.sample_rate_hz < SAMPLE_RATE_HZ:
            n_low += 1
            lowest = file if lowest is None or file.sample_rate_hz < lowest.sample_rate_hz else lowest
    warnings = []
    if short:
        warnings.append(
            f"{n_short} of {n_files} recordings give no segment: they are shorter than one (such as {short.path})"
        )
    if lowest:
        warnings.append(
            f"{n_low} of {n_files} recordings have a sample rate below {SAMPLE_RATE_HZ:,} Hz (the lowest: "
            f"{lowest.path}, {lowest.sample_rate_hz:,} Hz): they hold nothing above half of it, where targets may hold "
            "sound"
        )
    return warnings
