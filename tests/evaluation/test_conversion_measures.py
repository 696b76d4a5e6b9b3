"""The measures of one conversion, on spectrograms whose answers are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from umc_cli.evaluation import conversion_measures
from umc_cli.evaluation.conversion_measures import (
    MEASURES,
    Judges,
    Reference,
    ResponseAskedFor,
    Segments,
    measure_conversion,
)
from umc_cli.evaluation.spectrogram_classifier import ClassifierSettings, Judgement, classify, train_classifier

pytestmark = pytest.mark.xdist_group("judges")  # who are trained once

GAIN_DB = np.linspace(-6, 10, 80, dtype=np.float32)
SETTINGS = ClassifierSettings(epochs=1, fewest_steps=60)


def segments(n_segments: int, seed: int) -> Segments:
    """Half of them sounds of low bands, half of high bands; four segments a recording."""
    random = np.random.default_rng(seed)
    levels = random.normal(-60, 5, (n_segments, 80, 80)).astype(np.float32)
    labels = tuple(("low", "high")[row % 2] for row in range(n_segments))
    for row, label in enumerate(labels):
        levels[row, slice(0, 40) if label == "low" else slice(40, 80)] += 15
    return Segments(levels, tuple(f"{row // 4}" for row in range(n_segments)), labels, tuple(range(n_segments)))


def moved(given: Segments) -> np.ndarray:
    return given.log_mel + GAIN_DB[:, None]


@pytest.fixture(scope="module")
def reference() -> Reference:
    given = segments(60, seed=0)
    return Reference(
        source="flat",
        target="bright",
        given=given,
        true=moved(given),
        real=replace(given, log_mel=moved(given)),
        noise_floor_db=np.full(80, -80, dtype=np.float32),
        response=ResponseAskedFor(GAIN_DB, np.ones(80, dtype=bool), level_is_known=True),
    )


@pytest.fixture(scope="module")
def judges() -> Judges:
    own, other = segments(100, seed=1), segments(100, seed=2)
    devices = ["flat"] * 100 + ["bright"] * 100
    log_mel = np.concatenate([own.log_mel, moved(other)])
    return Judges(
        tuple(train_classifier(log_mel, devices, seed, SETTINGS) for seed in (0, 1)),
        (train_classifier(own.log_mel, own.labels, 0, SETTINGS),),
    )


def test_a_perfect_conversion(reference: Reference, judges: Judges) -> None:
    assert reference.true is not None
    measured = measure_conversion(reference, reference.true, reference.given.log_mel, judges)
    assert list(measured) == list(MEASURES)
    values = {name: each.value for name, each in measured.items()}
    for name in ("log_spectral_distance_signal_db", "log_spectral_distance_db", "cycle_error_db"):
        assert values[name] == 0
    assert values["response_error_db"] == pytest.approx(0, abs=1e-4)
    assert values["level_error_db"] == pytest.approx(0, abs=1e-4)
    assert values["probe_target_share"] == values["probe_real_accuracy"] > 0.9
    assert values["probe_source_share"] < 0.1
    assert values["frechet_distance"] == values["frechet_noise_level"]
    assert values["content_accuracy"] == values["content_accuracy_unconverted"] > 0.9
    # Only what rests on several judges has a spread over them.
    spread = {name for name, each in measured.items() if each.seed_spread is not None}
    assert spread == {name for name in MEASURES if name.startswith(("probe_", "frechet_"))}


def test_judges_look_at_the_same_recordings_once(
    reference: Reference, judges: Judges, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*of: Any) -> Judgement:
        calls.append(of)
        return classify(*of)

    monkeypatch.setattr(conversion_measures, "classify", counted)
    asked = Judges(judges.device_probes, judges.label_classifiers)
    n_judges, given = len(judges.device_probes) + len(judges.label_classifiers), reference.given.log_mel
    first = measure_conversion(reference, given, moved(reference.given), asked)
    assert len(calls) == 2 * n_judges  # what was converted, and what was recorded
    assert measure_conversion(reference, given, moved(reference.given), asked) == first
    assert len(calls) == 3 * n_judges
    elsewhere = replace(reference, real=segments(60, seed=7), given=segments(60, seed=8))
    again = measure_conversion(elsewhere, given, given, asked)
    assert len(calls) == 5 * n_judges
    assert again == measure_conversion(elsewhere, given, given, judges)


def test_no_conversion_is_seen_through(reference: Reference, judges: Judges) -> None:
    measured = measure_conversion(reference, reference.given.log_mel, reference.given.log_mel, judges)
    values = {name: each.value for name, each in measured.items()}
    assert values["log_spectral_distance_db"] == pytest.approx(np.sqrt(np.mean(GAIN_DB**2)), rel=1e-4)
    assert values["response_error_db"] == pytest.approx(GAIN_DB.std(), rel=1e-4)
    assert values["level_error_db"] == pytest.approx(-GAIN_DB.mean(), rel=1e-4)
    assert values["probe_source_share"] > 0.9
    assert values["frechet_distance"] > 3 * values["frechet_noise_level"]


def test_lost_content_shows(reference: Reference, judges: Judges) -> None:
    assert reference.true is not None
    same = np.repeat(reference.given.log_mel[:1], len(reference.given), axis=0)
    measured = measure_conversion(reference, reference.true, same, judges)
    assert measured["content_accuracy"].value == 0.5
    assert measured["cycle_error_db"].value > 5


def test_what_is_not_known_is_left_out(reference: Reference, judges: Judges) -> None:
    assert reference.response is not None
    converted = moved(reference.given)
    unparallel = replace(reference, true=None)
    assert not {name for name in measure_conversion(unparallel, converted, None, judges) if "spectral" in name}
    no_level = replace(reference, response=replace(reference.response, level_is_known=False))
    assert set(measure_conversion(no_level, converted)) == {
        "log_spectral_distance_signal_db", "log_spectral_distance_db", "response_error_db",
    }  # fmt: skip
    no_record = replace(reference, response=None, noise_floor_db=np.full(80, 40, dtype=np.float32))  # nothing is louder
    assert set(measure_conversion(no_record, converted)) == {"log_spectral_distance_db"}


def test_a_probe_that_does_not_know_the_target_is_not_asked(reference: Reference, judges: Judges) -> None:
    stranger = replace(reference, target="stranger")
    measured = measure_conversion(stranger, moved(reference.given), None, judges)
    assert not {name for name in measured if name.startswith(("probe_", "frechet_"))}
