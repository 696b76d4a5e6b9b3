"""The judges of conversions, trained on the recordings of a workspace that are not measured."""

from collections.abc import Callable, Sequence

import numpy as np

from umc_cli.audio.manifest import Clip
from umc_cli.conversion.level_quantiles import MIN_SEGMENTS
from umc_cli.evaluation.conversion_measures import Judges, Segments
from umc_cli.evaluation.recorded_segments import SegmentReader
from umc_cli.evaluation.spectrogram_classifier import STEP_S, SpectrogramClassifier, n_steps, train_classifier


def train_judges(
    clips: Sequence[Clip],
    source: str,
    targets: Sequence[str],
    n_seeds: int,
    reader: SegmentReader,
    warnings: list[str],
    say: Callable[[str], None],
) -> Judges:
    """Train device probes on all devices of `clips`, and label classifiers on the source's, one of each a seed."""
    learnt_from: dict[str, Segments] = {}
    for device in sorted({clip.device for clip in clips}):
        segments = reader.read([clip for clip in clips if clip.device == device])
        if len(segments) >= MIN_SEGMENTS:
            learnt_from[device] = segments
    warnings += [
        f"the device probe does not know {device}: too few recordings besides those that are measured"
        for device in (source, *targets)
        if device not in learnt_from
    ]
    if source not in learnt_from:
        return Judges()
    probes: list[SpectrogramClassifier] = []
    classifiers: list[SpectrogramClassifier] = []
    log_mel = np.concatenate([segments.log_mel for segments in learnt_from.values()])
    devices = [device for device, segments in learnt_from.items() for _ in range(len(segments))]
    own = learnt_from[source]
    if len(set(own.labels)) < 2:
        warnings.append(f"recordings of {source} have one label only: the accuracy of content is left out")
    sizes = [*([len(log_mel)] if len(learnt_from) > 1 else []), *([len(own)] if len(set(own.labels)) > 1 else [])]
    if sizes:
        seconds = n_seeds * sum(map(n_steps, sizes)) * STEP_S
        say(
            f"training {n_seeds * len(sizes)} judges on up to {max(sizes)} segments takes about {seconds:.0f} s of a "
            "processor; --no-probe leaves them out, --seeds 1 trains one of each kind"
        )
    for seed in range(n_seeds):
        if len(learnt_from) > 1:
            say(f"training device probe {seed + 1} of {n_seeds}")
            probes.append(train_classifier(log_mel, devices, seed))
        if len(set(own.labels)) > 1:
            say(f"training label classifier {seed + 1} of {n_seeds}")
            classifiers.append(train_classifier(own.log_mel, own.labels, seed))
    return Judges(tuple(probes), tuple(classifiers))
