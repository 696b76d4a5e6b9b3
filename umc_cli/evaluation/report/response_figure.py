"""Frequency responses as pictures: one measured device with all that is known, or several and their differences.

Colour-blind-safe colours; what cannot be trusted is shaded or dotted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

DOTS_PER_INCH = 200

_TICKS_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_FONT_POINTS = 8.0
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's."""
_LEAST_RANGE_DB = 12.0


@dataclass(frozen=True)
class Response:
    """What is drawn of a device. Arrays run over bands."""

    name: str
    band_centres_hz: ArrayLike
    response_db: ArrayLike
    trusted_range_hz: tuple[float, float]
    spread_db: ArrayLike | None = None
    noise_floor_db: ArrayLike | None = None
    """dB re full scale."""
    snr_db: ArrayLike | None = None


def response_figure(response: Response) -> Figure:
    """Return the picture of one measurement: response with its spread above, noise floor and signal to noise below.

    Raises:
        ValueError: an array has another length than `band_centres_hz`.
    """
    has_lower = response.noise_floor_db is not None or response.snr_db is not None
    figure = Figure(figsize=(6.4, 5.0 if has_lower else 3.0), layout="constrained")
    FigureCanvasAgg(figure)
    grid: NDArray[np.object_] = figure.subplots(2 if has_lower else 1, 1, squeeze=False, sharex=True)
    upper = grid[0, 0]
    hertz, levels_db = _bands(response, response.response_db)
    shown_db = levels_db
    if response.spread_db is not None:
        spread_db = _bands(response, response.spread_db)[1]
        # What cannot be trusted may spread over any range.
        trusted = (hertz >= response.trusted_range_hz[0]) & (hertz <= response.trusted_range_hz[1])
        shown_db = np.concatenate([levels_db, (levels_db - spread_db)[trusted], (levels_db + spread_db)[trusted]])
        upper.fill_between(
            hertz, levels_db - spread_db, levels_db + spread_db, color=_COLOURS[0], alpha=0.25, linewidth=0,
            label="spread over repeats",
        )  # fmt: skip
    upper.plot(hertz, levels_db, color=_COLOURS[0], linewidth=1.2, label="response")
    upper.set_ylabel("dB re 1 kHz", fontsize=_FONT_POINTS)
    upper.set_title(response.name, fontsize=_FONT_POINTS, fontweight="bold", parse_math=False)
    _limit(upper, shown_db)
    if has_lower:
        lower = grid[1, 0]
        for values, label, colour in (
            (response.noise_floor_db, "noise floor (dB re full scale)", _COLOURS[1]),
            (response.snr_db, "signal to noise (dB)", _COLOURS[2]),
        ):
            if values is not None:
                lower.plot(hertz, _bands(response, values)[1], color=colour, linewidth=1.0, label=label)
        lower.set_ylabel("dB", fontsize=_FONT_POINTS)
    for axes in grid[:, 0]:
        _shade_untrusted(axes, response)
        # On white: the patch of what is not trusted would vanish in its own shading.
        axes.legend(fontsize=_FONT_POINTS, loc="best", framealpha=1, edgecolor="white")
    _frequency_axis(grid[:, 0])
    return figure


def comparison_figure(responses: Sequence[Response], differences_db: Mapping[str, ArrayLike]) -> Figure:
    """Return the picture of several responses, above, and of their differences, below.

    `differences_db`: what to call each and its values, over the bands of the first response. Dotted: not trusted.

    Raises:
        ValueError: there is no response, or an array has another length than the bands.
    """
    if not responses:
        raise ValueError("there is no response to draw")
    figure = Figure(figsize=(6.4, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    grid: NDArray[np.object_] = figure.subplots(2, 1, squeeze=False, sharex=True)
    upper, lower = grid[:, 0]
    for index, response in enumerate(responses):
        hertz, levels_db = _bands(response, response.response_db)
        _plot_trusted(
            upper, hertz, levels_db, response.trusted_range_hz, _COLOURS[index % len(_COLOURS)], response.name
        )
    lows, highs = zip(*(response.trusted_range_hz for response in responses), strict=True)
    for index, (name, values) in enumerate(differences_db.items(), start=1):
        hertz, levels_db = _bands(responses[0], values)
        _plot_trusted(lower, hertz, levels_db, (max(lows), min(highs)), _COLOURS[index % len(_COLOURS)], name)
    lower.axhline(0, color="0.6", linewidth=0.6)
    for axes, label in ((upper, "dB re 1 kHz"), (lower, "difference (dB)")):
        axes.set_ylabel(label, fontsize=_FONT_POINTS)
        axes.legend(fontsize=_FONT_POINTS, frameon=False)
    _frequency_axis(grid[:, 0])
    return figure


def _plot_trusted(
    axes: Axes,
    hertz: NDArray[np.float64],
    levels_db: NDArray[np.float64],
    trusted_hz: tuple[float, float],
    colour: str,
    name: str,
) -> None:
    trusted = (hertz >= trusted_hz[0]) & (hertz <= trusted_hz[1])
    axes.plot(hertz, levels_db, color=colour, linewidth=0.8, linestyle=":")
    axes.plot(hertz, np.where(trusted, levels_db, np.nan), color=colour, linewidth=1.2, label=name)


def _shade_untrusted(axes: Axes, response: Response) -> None:
    hertz = np.asarray(response.band_centres_hz, float)
    low, high = response.trusted_range_hz
    axes.set_xlim(hertz[0], hertz[-1])
    if low > hertz[0]:
        axes.axvspan(hertz[0], low, color="0.85", zorder=0, linewidth=0, label="not trusted")
    if high < hertz[-1]:
        axes.axvspan(
            high, hertz[-1], color="0.85", zorder=0, linewidth=0, label="not trusted" if low <= hertz[0] else None
        )


def _frequency_axis(every: NDArray[np.object_]) -> None:
    for axes in every:
        axes.set_xscale("log")
        axes.set_xticks(_TICKS_HZ, [f"{tick / 1000:g}k" if tick >= 1000 else str(tick) for tick in _TICKS_HZ])
        axes.minorticks_off()
        axes.grid(color="0.9", linewidth=0.5)
        axes.tick_params(labelsize=_FONT_POINTS)
    every[-1].set_xlabel("frequency (Hz)", fontsize=_FONT_POINTS)


def _limit(axes: Axes, levels_db: NDArray[np.float64]) -> None:
    middle = (levels_db.max() + levels_db.min()) / 2
    half = max(_LEAST_RANGE_DB / 2, 0.6 * (levels_db.max() - levels_db.min()))
    axes.set_ylim(middle - half, middle + half)


def _bands(response: Response, values: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    hertz, levels_db = np.asarray(response.band_centres_hz, float), np.asarray(values, float)
    if hertz.shape != levels_db.shape:
        raise ValueError(f"{response.name}: {levels_db.shape} values for {hertz.shape} bands")
    return hertz, levels_db
