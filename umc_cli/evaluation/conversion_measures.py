"""All measures of a conversion from one source to one target, on arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from umc_cli.evaluation.conversion_metrics import (
    frames_with_signal,
    frechet_distances_of_halves,
    log_spectral_distance,
    response_error,
)
from umc_cli.evaluation.spectrogram_classifier import Judgement, SpectrogramClassifier, classify

MEASURES = {
    "log_spectral_distance_signal_db": "distance to what the target recorded, over frames with signal",
    "log_spectral_distance_db": "distance to what the target recorded, over all frames",
    "response_error_db": "RMS over trusted bands of mean change minus requested difference, without the level",
    "level_error_db": "mean over trusted bands of mean change minus requested difference",
    "probe_target_share": "share of converted segments that the device probe takes for the target's",
    "probe_source_share": "share of converted segments that the device probe takes for the source's",
    "probe_real_accuracy": "share of the target's own recordings that the device probe takes for the target's",
    "frechet_distance": "Frechet distance of converted to real segments in the probe's embedding",
    "frechet_noise_level": "the same of real to real segments",
    "cycle_error_db": "distance of segments converted there and back to what they were, over all frames",
    "content_accuracy": "accuracy of a label classifier on segments converted there and back",
    "content_accuracy_unconverted": "its accuracy on the segments as they were",
}
"""The measures by name, in the order of tables; defined in docs/conversion-metrics.md."""

_HALVINGS = 5
"""Random halves of the recordings that a Frechet distance is averaged over."""


@dataclass(frozen=True)
class Segments:
    """Segments of one device."""

    log_mel: NDArray[np.float32]
    """[N, 80, 80], dB."""
    recordings: tuple[str, ...]
    """[N] names of the recordings they were cut from."""
    labels: tuple[str, ...]
    """[N]"""
    starts: tuple[int, ...]
    """[N] samples."""
    files: tuple[str, ...] = ()
    """[N] files they were cut from, the key with the start; by default a recording is one file."""
    siblings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By recording that has several files on the device: all of them, with those that gave no segment."""

    def __post_init__(self) -> None:
        if not self.files:
            object.__setattr__(self, "files", self.recordings)

    def __len__(self) -> int:
        return len(self.log_mel)

    def rows(self, rows: Sequence[int]) -> "Segments":
        """Return some of the segments, in the given order."""
        return Segments(
            self.log_mel[list(rows)],
            tuple(self.recordings[row] for row in rows),
            tuple(self.labels[row] for row in rows),
            tuple(self.starts[row] for row in rows),
            tuple(self.files[row] for row in rows),
            self.siblings,
        )


@dataclass(frozen=True)
class ResponseAskedFor:
    """What the device records say of the way from source to target."""

    gain_db: NDArray[np.float32]
    """[80], dB: difference of the responses, target minus source, with the level difference if it is known."""
    trusted: NDArray[np.bool_]
    """[80]: bands in which both records can be trusted."""
    level_is_known: bool
    """Both sensitivities are known; else the level of a conversion is not judged."""


@dataclass(frozen=True)
class Reference:
    """A source, a target, and what conversions from one to the other are measured against."""

    source: str
    target: str
    given: Segments
    """What the source recorded: the input of the conversion."""
    true: NDArray[np.float32] | None
    """[N, 80, 80], dB: the same segments as the target recorded them; None if it did not."""
    real: Segments
    """What the target recorded, the same or other sounds; not seen by any converter or judge."""
    noise_floor_db: NDArray[np.float32] | None = None
    """[80], dB: the target's."""
    response: ResponseAskedFor | None = None


@dataclass(frozen=True)
class Judges:
    """Classifiers trained on real recordings that are not measured, one a seed; none where there are no two classes."""

    device_probes: tuple[SpectrogramClassifier, ...] = ()
    label_classifiers: tuple[SpectrogramClassifier, ...] = ()
    """Trained on the source's recordings."""
    _of_recordings: dict[tuple[int, int], tuple[Judgement, Segments]] = field(default_factory=dict, compare=False)

    def of_recordings(self, classifier: SpectrogramClassifier, segments: Segments) -> Judgement:
        """Return what a classifier makes of recordings: every conversion is compared with the same ones."""
        key = id(classifier), id(segments)  # of these very objects, which are kept
        if key not in self._of_recordings:
            self._of_recordings[key] = classify(classifier, segments.log_mel), segments
        return self._of_recordings[key][0]


@dataclass(frozen=True)
class Measured:
    """A value, and its standard deviation over the judges where it rests on them."""

    value: float
    seed_spread: float | None = None


def measure_conversion(
    reference: Reference,
    converted: NDArray[np.float32],
    there_and_back: NDArray[np.float32] | None = None,
    judges: Judges | None = None,
) -> dict[str, Measured]:
    """Return every measure of `MEASURES` for which everything is there.

    `converted` [N, 80, 80], dB: `reference.given` converted to the target. `there_and_back`: that converted to the
    source again.
    """
    judges = judges or Judges()
    measured = _distances(reference, converted) | _response_errors(reference, converted)
    measured |= _passing_for_the_target(reference, converted, judges)
    if there_and_back is not None:
        measured |= _content_kept(reference, there_and_back, judges)
    return {name: measured[name] for name in MEASURES if name in measured and np.isfinite(measured[name].value)}


def _distances(reference: Reference, converted: NDArray[np.float32]) -> dict[str, Measured]:
    if reference.true is None:
        return {}
    signal = frames_with_signal(reference.true, reference.noise_floor_db, reference.given.recordings)
    over_signal = log_spectral_distance(converted, reference.true, signal)
    over_signal = over_signal[np.isfinite(over_signal)]
    over_all = log_spectral_distance(converted, reference.true)
    distances = {"log_spectral_distance_db": Measured(float(over_all.mean()))}
    if len(over_signal):
        distances["log_spectral_distance_signal_db"] = Measured(float(over_signal.mean()))
    return distances


def _response_errors(reference: Reference, converted: NDArray[np.float32]) -> dict[str, Measured]:
    response = reference.response
    if response is None or not response.trusted.any():
        return {}
    error = response_error(converted, reference.given.log_mel, response.gain_db, response.trusted)
    level = {"level_error_db": Measured(error.level_db)} if response.level_is_known else {}
    return {"response_error_db": Measured(error.shape_db)} | level


def _passing_for_the_target(
    reference: Reference, converted: NDArray[np.float32], judges: Judges
) -> dict[str, Measured]:
    found: dict[str, list[float]] = {}
    for probe in judges.device_probes:
        if not {reference.source, reference.target} <= set(probe.classes):
            continue
        judged, judged_real = classify(probe, converted), judges.of_recordings(probe, reference.real)
        taken_for, embedded, real = judged.classes, judged.embedding, judged_real.embedding
        halves = range(_HALVINGS)
        ours, theirs = reference.given.recordings, reference.real.recordings
        values = {
            "probe_target_share": (taken_for == reference.target).mean(),
            "probe_source_share": (taken_for == reference.source).mean(),
            "probe_real_accuracy": (judged_real.classes == reference.target).mean(),
            "frechet_distance": frechet_distances_of_halves(embedded, ours, real, theirs, halves).mean(),
            "frechet_noise_level": frechet_distances_of_halves(real, theirs, real, theirs, halves).mean(),
        }
        for name, value in values.items():
            found.setdefault(name, []).append(float(value))
    return {name: _over_judges(values) for name, values in found.items()}


def _content_kept(reference: Reference, there_and_back: NDArray[np.float32], judges: Judges) -> dict[str, Measured]:
    given = reference.given
    measured = {"cycle_error_db": Measured(float(log_spectral_distance(there_and_back, given.log_mel).mean()))}
    labels = np.array(given.labels)
    kept, unconverted = [], []
    for classifier in judges.label_classifiers:
        known = np.isin(labels, classifier.classes)
        if known.any():
            kept.append(float((classify(classifier, there_and_back[known]).classes == labels[known]).mean()))
            as_they_were = judges.of_recordings(classifier, given).classes
            unconverted.append(float((as_they_were[known] == labels[known]).mean()))
    if kept:
        measured["content_accuracy"] = _over_judges(kept)
        measured["content_accuracy_unconverted"] = _over_judges(unconverted)
    return measured


def _over_judges(values: Sequence[float]) -> Measured:
    return Measured(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)
