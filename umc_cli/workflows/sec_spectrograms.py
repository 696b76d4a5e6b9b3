"""Spectrogram rows for the page of `umc eval`: a source's recording, its conversions, the targets' recordings.

After Figure 4 of the paper, with the conversions that the scored models were trained with.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from umc_cli.audio.log_mel_settings import SAMPLE_RATE_HZ, SEGMENT_SAMPLES
from umc_cli.audio.manifest import Clip
from umc_cli.audio.segment_settings import SegmentSettings
from umc_cli.config import Workspace
from umc_cli.errors import UmcError
from umc_cli.evaluation.device_table import TableRow
from umc_cli.evaluation.recorded_segments import SegmentReader, counterparts
from umc_cli.evaluation.report.conversion_figure import COLOUR_RANGE_DB, conversion_figure
from umc_cli.evaluation.report.figure_file import figure_png
from umc_cli.evaluation.report.results_page import Picture, SpectrogramRows
from umc_cli.response.device import DeviceRegistry
from umc_cli.response.difference import fr_difference_db
from umc_cli.sec.models import SecModel
from umc_cli.workflows.trained_conversion import TrainedConversion, convert_as_trained

MOST_TARGETS = 4
"""Columns of a picture."""
MOST_PICTURES = 8
"""Of a page: some 0.3 MB each."""

_SEGMENTS_LOOKED_AT = 50
_DOTS_PER_INCH, _CSS_PIXELS_PER_INCH = 165, 110
"""On paper and on fine screens sharper than the size on the page asks for."""

Levels = NDArray[np.float32]


@dataclass(frozen=True)
class SharedEvent:
    """A segment that the source and others recorded together."""

    recording: str
    label: str
    start: int
    """First sample."""
    log_mel: Levels
    """[80, 80], dB: as the source recorded it."""
    recorded: Mapping[str, Levels]
    """By other device: [80, 80], dB, as it recorded it."""


@dataclass
class _Shown:
    """A conversion, and the rows of the table whose models were trained with it."""

    conversion: TrainedConversion
    labels: list[str]


def draw_spectrograms(
    workspace: Workspace,
    models: Sequence[SecModel],
    rows: Sequence[TableRow],
    clips: Sequence[Clip],
    segments: SegmentSettings,
) -> list[SpectrogramRows]:
    """Draw, for the source of every row, one event: a picture for each conversion that its models were trained with.

    Where none of them converts, the picture has the recordings alone. What cannot be drawn is said in the result.

    `clips`: of the split that was scored; targets are the devices of `rows`.
    """
    by_name = {model.name: model for model in models}
    n_left = MOST_PICTURES
    drawn = []
    for source in dict.fromkeys(row.source for row in rows):
        own = [row for row in rows if row.source == source]
        one_of_each = {row.label: by_name[row.models[0]] for row in own}
        others = dict.fromkeys(device for row in own for device in row.devices if device != source)
        event = find_event(source, list(others), clips, segments) if n_left else None
        if event is None:
            why = "no other device has a recording of the same sound (the same `recording`)"
            if not n_left:
                why = f"the page holds enough of them; see it alone with --source {source}"
            drawn.append(SpectrogramRows(source, f"No picture: {why}.", (), ()))
            continue
        worst = min(event.recorded, key=lambda device: _mean_score(own, device))
        targets = _targets(event, worst, one_of_each.values())
        shown, notes = _conversions(workspace, one_of_each, event, targets)
        alone: list[_Shown | None] = [None]
        pictures = [_picture(workspace, source, event, targets, each) for each in shown[:n_left] or alone]
        if len(shown) > n_left:
            left_out = ", ".join(label for each in shown[n_left:] for label in each.labels)
            notes.append(f"Left out, as the page holds enough pictures: {left_out}.")
        n_left -= len(pictures)
        drawn.append(SpectrogramRows(source, _described(source, event, worst), pictures, notes))
    return drawn


def find_event(
    source: str, others: Sequence[str], clips: Sequence[Clip], settings: SegmentSettings
) -> SharedEvent | None:
    """Return the segment to draw, always the same one of the same recordings; None where there is none to compare.

    Of the recordings of `source` those count that most `others` have too (by `recording`). Of their first 50 segments,
    recordings in the order of a hash of their names, it is the one whose levels spread most: the standard deviation
    over bands and frames, levels that no picture shows (80 dB below the loudest) raised to the least shown. Whole
    segments are preferred to padded ones.
    """
    others_with: dict[str, set[str]] = {}
    for clip in clips:
        if clip.device in others:
            others_with.setdefault(clip.recording, set()).add(clip.device)
    own = [clip for clip in clips if clip.device == source and clip.recording in others_with]
    most = max((len(others_with[clip.recording]) for clip in own), default=0)
    own = [clip for clip in own if len(others_with[clip.recording]) == most]
    whole = settings.model_copy(update={"short_clips": "drop", "remainder": "drop"})
    for reader in (SegmentReader(whole, _SEGMENTS_LOOKED_AT), SegmentReader(settings, _SEGMENTS_LOOKED_AT)):
        given = reader.read(own)
        if not len(given):
            continue
        chosen = given.rows([int(np.argmax([_spread_db(levels) for levels in given.log_mel]))])
        recorded = {}
        for device in others:
            same = [clip for clip in clips if clip.device == device and clip.recording == chosen.recordings[0]]
            theirs = reader.read(same)
            for _, row in counterparts(chosen, theirs):
                recorded[device] = theirs.log_mel[row]
        if recorded:
            return SharedEvent(chosen.recordings[0], chosen.labels[0], chosen.starts[0], chosen.log_mel[0], recorded)
    return None


def _spread_db(levels_db: Levels) -> float:
    return float(np.maximum(levels_db, levels_db.max() - COLOUR_RANGE_DB).std())


def _mean_score(rows: Sequence[TableRow], device: str) -> float:
    return mean(row.devices[device].macro_f1 for row in rows if device in row.devices)


def _targets(event: SharedEvent, worst: str, models: Iterable[SecModel]) -> list[str]:
    """Return the worst device, then those that trainings converted to, then others; in the order of the table."""
    trained = {target for model in models for target in model.training.get("targets") or ()}
    ranked = sorted(event.recorded, key=lambda device: (device != worst, device not in trained))
    return [device for device in event.recorded if device in ranked[:MOST_TARGETS]]


def _conversions(
    workspace: Workspace, models: Mapping[str, SecModel], event: SharedEvent, targets: Sequence[str]
) -> tuple[list[_Shown], list[str]]:
    """Return the conversions that can be drawn, equal ones once, and what must be said of them. `models`: by label."""
    found: list[_Shown] = []
    notes = []
    for label, model in models.items():
        try:
            conversion = convert_as_trained(workspace, model, event.log_mel, targets)
        except UmcError as error:
            notes.append(f"{label}: its conversion cannot be drawn: {error.message}.")
            continue
        if conversion is None:
            continue
        same = next((each for each in found if _are_equal(each.conversion, conversion)), None)
        if same:
            same.labels.append(label)
        else:
            found.append(_Shown(conversion, [label]))
    for each in found:
        by_reason: dict[str, list[str]] = {}
        for target, reason in each.conversion.missing.items():
            by_reason.setdefault(reason, []).append(target)
        labels = ", ".join(each.labels)
        notes += [f"{labels}: not converted to {', '.join(those)}: {why}." for why, those in by_reason.items()]
    return [each for each in found if each.conversion.converted], notes


def _are_equal(first: TrainedConversion, second: TrainedConversion) -> bool:
    return (
        (first.converter, first.trained_targets, first.missing)
        == (second.converter, second.trained_targets, second.missing)
    ) and all(np.array_equal(levels, second.converted[target]) for target, levels in first.converted.items())


def _picture(
    workspace: Workspace, source: str, event: SharedEvent, targets: Sequence[str], shown: _Shown | None
) -> Picture:
    registry = DeviceRegistry(workspace.devices)
    differences, band_centres_hz = {}, np.empty(0)
    for target in targets:
        try:
            own = registry.get(source)
            differences[target] = fr_difference_db(own, registry.get(target))
            band_centres_hz = np.array(own.band_centres_hz)
        except UmcError:  # the panel says that the response is unknown
            continue
    converted = shown.conversion.converted if shown else {}
    figure = conversion_figure(
        event.log_mel,
        differences,
        {target: converted.get(target) for target in targets},
        source,
        band_centres_hz,
        {target: event.recorded[target] for target in targets},
    )
    width = round(_CSS_PIXELS_PER_INCH * figure.get_figwidth())
    return Picture(_caption(targets, shown), figure_png(figure, _DOTS_PER_INCH), width)


def _caption(targets: Sequence[str], shown: _Shown | None) -> str:
    if shown is None:
        return "No conversion: the source's recording, and those of the targets."
    conversion = shown.conversion
    text = f"{', '.join(shown.labels)}: converter {conversion.converter}."
    foreign = [target for target in targets if target not in conversion.trained_targets]
    if not conversion.trained_targets:
        text += " The training drew a difference anew for every sample; these are those of devices."
    elif foreign:
        n_trained = len(conversion.trained_targets)
        devices = "device" if n_trained == 1 else "devices"
        text += f" The training converted to {n_trained} {devices}, not to {', '.join(foreign)}."
    return text


def _described(source: str, event: SharedEvent, worst: str) -> str:
    return (
        f"Recording {event.recording!r} (label {event.label!r}), {SEGMENT_SAMPLES / SAMPLE_RATE_HZ:.2f} s from "
        f"{event.start / SAMPLE_RATE_HZ:.2f} s on; its levels spread most among segments that most devices recorded. "
        f"Of the devices shown, the models trained on {source} do worst on {worst} on average."
    )
