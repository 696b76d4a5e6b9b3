"""`umc synth-fr`: frequency-response differences of devices that do not exist, and how well they cover real ones."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umc_cli.config import Workspace
from umc_cli.errors import SettingsError
from umc_cli.evaluation.report.difference_figure import draw_coverage_figure, draw_difference_figure
from umc_cli.evaluation.report.figure_file import check_figure_name
from umc_cli.response.frequency_response import band_centres_hz
from umc_cli.response.learned_responses import NO_RESPONSES, draw_from, responses_to_learn_from
from umc_cli.response.synthesis import METHODS
from umc_cli.response.synthesis.coverage import CoverageReport, compare_methods
from umc_cli.response.synthesis.drawing import check_number, find_method, method_settings
from umc_cli.response.synthetic_differences import SyntheticDifferences, write_differences
from umc_cli.settings.synth_fr import SynthFrSettings
from umc_cli.workflows.report_base import Report


@dataclass(frozen=True)
class DrawnDifferences:
    """What was drawn, in short. Lists run over 128 mel bands."""

    method: str
    settings: Mapping[str, Any]
    learned: Mapping[str, Any]
    n: int
    size_median_db: float
    """Median over the differences of their RMS over the bands, each less its mean."""
    example_db: list[float]
    """The first difference."""
    spread_db: list[float]
    """Standard deviation over all differences."""
    noise_floor_median_db: list[float]


@dataclass
class SynthFrReport(Report):
    """What `umc synth-fr` drew or measured."""

    learned_from: str
    """For people; empty where the method learns nothing."""
    devices: list[str]
    """That were learned from."""
    seed: int
    drawn: DrawnDifferences | None = None
    coverage: CoverageReport | None = None
    output: str | None = None
    figure: str | None = None


def synth_fr(workspace: Workspace, settings: SynthFrSettings, say: Callable[[str], None]) -> SynthFrReport:
    """Draw differences and write them, or measure how well the methods cover real ones. `say` tells how it goes on.

    Raises:
        SettingsError: a setting makes no sense, there are too few devices to learn from, or the output is there.
        EnvironmentFault: the output cannot be written.
    """
    started = time.monotonic()
    chosen = method_settings(settings.method, settings.method_settings)
    check_number(settings.n)
    if settings.coverage and settings.output:
        raise SettingsError(
            "--coverage draws no set to write", "leave out --output; --figure and --json keep its result"
        )
    for path in filter(None, (settings.output, settings.figure)):
        if path.exists() and (not settings.overwrite or path.is_dir()):
            raise SettingsError(f"{path} already exists", "choose another name, or give --overwrite to replace it")
    if settings.figure:
        check_figure_name(settings.figure)
    learns = settings.coverage or find_method(settings.method).least_devices > 0
    responses = responses_to_learn_from(workspace, settings.learn_from) if learns else NO_RESPONSES
    report = SynthFrReport(responses.origin, list(responses.names), settings.seed)
    if settings.coverage:
        every = {name: method.settings() for name, method in METHODS.items()} | {settings.method: chosen}
        seeds = range(settings.seed, settings.seed + settings.coverage_seeds)
        report.coverage = compare_methods(responses, every, settings.coverage_drawn, seeds, say)
        if settings.figure:
            draw_coverage_figure(
                settings.figure,
                {one.method: one.nearest_db for one in report.coverage.methods},
                {one.method: one.rank for one in report.coverage.methods},
            )
    else:
        drawn = draw_from(responses, settings.method, chosen, settings.levels, settings.n, settings.seed)
        report.drawn = _in_short(drawn)
        if settings.output:
            write_differences(settings.output, drawn)
        if settings.figure:
            draw_difference_figure(
                settings.figure, drawn.fr_difference_db, drawn.noise_floor_db, band_centres_hz(), settings.method
            )
    report.output = str(settings.output) if settings.output else None
    report.figure = str(settings.figure) if settings.figure else None
    report.seconds = time.monotonic() - started
    return report


def _in_short(drawn: SyntheticDifferences) -> DrawnDifferences:
    differences_db = drawn.fr_difference_db
    return DrawnDifferences(
        method=drawn.about["method"],
        settings=drawn.about["settings"],
        learned=drawn.about["learned"],
        n=len(drawn),
        size_median_db=round(float(np.median(differences_db.std(axis=1))), 3),
        example_db=_rounded(differences_db[0]),
        spread_db=_rounded(differences_db.std(axis=0, dtype=np.float64)),
        noise_floor_median_db=_rounded(np.median(drawn.noise_floor_db, axis=0)),
    )


def _rounded(values: NDArray[np.floating]) -> list[float]:
    return [round(float(value), 3) for value in values]
