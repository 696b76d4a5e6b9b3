"""Conversions beside what the target really recorded: a row for each sound, and how near the conversion came."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from umc_cli.evaluation.report.conversion_figure import FONT_POINTS, colour_limits_of, draw_spectrogram
from umc_cli.evaluation.report.figure_file import write_figure

_WIDTH_INCHES, _ROW_INCHES, _HEAD_INCHES, _BARS_INCHES = 7.2, 1.4, 0.5, 0.7
_DOTS_PER_INCH = 200
_BEFORE, _AFTER = "0.6", "tab:green"


@dataclass(frozen=True)
class ConvertedSound:
    """One segment as the source recorded it, as it was converted, and as the target recorded it; [80, 80] in dB."""

    name: str
    given: NDArray[np.float32]
    converted: NDArray[np.float32]
    true: NDArray[np.float32]
    distance_given_db: float
    """From what the target recorded, before conversion."""
    distance_converted_db: float
    """The same after it."""


def draw_demo_figure(
    path: Path,
    sounds: Sequence[ConvertedSound],
    source: str,
    target: str,
    converter: str,
    overall_db: tuple[float, float],
    n_segments: int,
) -> None:
    """Draw the sounds, and below them the mean distance before and after conversion of `n_segments` segments.

    Raises:
        EnvironmentFault: the file cannot be written.
    """
    height = _HEAD_INCHES + _ROW_INCHES * len(sounds) + _BARS_INCHES
    figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(len(sounds) + 1, 3, height_ratios=[*[_ROW_INCHES] * len(sounds), _BARS_INCHES])
    images = [image for each in sounds for image in (each.given, each.converted, each.true)]
    limits = colour_limits_of([image.astype(np.float64) for image in images])
    heads = (f"recorded by {source}", f"converted to {target}", f"truth: recorded by {target}")
    for row, sound in enumerate(sounds):
        panels = [figure.add_subplot(grid[row, column]) for column in range(3)]
        for column, (axes, image) in enumerate(zip(panels, (sound.given, sound.converted, sound.true), strict=True)):
            drawn = draw_spectrogram(axes, np.asarray(image, np.float64), limits)
            axes.tick_params(labelleft=column == 0, labelbottom=row == len(sounds) - 1)
            if row == 0:
                axes.set_title(heads[column], fontsize=FONT_POINTS + 1, fontweight="bold", pad=6)
            if row == len(sounds) - 1:
                axes.set_xlabel("time (ms)", fontsize=FONT_POINTS)
        for axes, distance, colour in (
            (panels[0], sound.distance_given_db, _BEFORE),
            (panels[1], sound.distance_converted_db, _AFTER),
        ):
            axes.text(
                0.97, 0.95, f"{distance:.1f} dB off", transform=axes.transAxes, ha="right", va="top",
                fontsize=FONT_POINTS, color="white", bbox={"facecolor": "0.15" if colour == _BEFORE else colour,
                "edgecolor": "none", "pad": 2},
            )  # fmt: skip
        panels[0].set_ylabel(f"{sound.name}\nfrequency (kHz)", fontsize=FONT_POINTS)
        if row == 0 and drawn is not None:
            mappable = drawn
    bars = figure.add_subplot(grid[len(sounds), :])
    names = ("no conversion", f"converter {converter}")
    bars.barh(names, overall_db, color=(_BEFORE, _AFTER), height=0.6)
    for place, value in enumerate(overall_db):
        bars.text(value, place, f" {value:.1f} dB", va="center", fontsize=FONT_POINTS + 1)
    bars.set_xlim(0, 1.15 * max(overall_db))
    bars.invert_yaxis()
    bars.spines[["top", "right"]].set_visible(False)
    bars.tick_params(labelsize=FONT_POINTS)
    bars.set_xlabel(
        f"mean distance from what {target} really recorded, {n_segments} segments that nothing was learned from (dB)",
        fontsize=FONT_POINTS,
    )
    colours = figure.colorbar(mappable, ax=figure.axes[:-1], label="level (dB re full scale)", aspect=40, pad=0.01)
    colours.ax.tick_params(labelsize=FONT_POINTS)
    colours.ax.yaxis.label.set_fontsize(FONT_POINTS)
    write_figure(path, figure, _DOTS_PER_INCH)
