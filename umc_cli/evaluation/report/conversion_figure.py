"""One conversion as a picture, after Figure 4 of the paper.

A column per target device; from top to bottom the input spectrogram, the frequency-response difference that the
converter was given, the converted spectrogram and, where there is one, the target's own recording of the sound. A row
of which nothing is known is left out. All spectrograms share one colour scale, so that levels can be compared between
panels. Where the target's recording is there, how far from it conversion and input are stands above its column's panel.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from umc_cli.audio.log_mel_settings import FLOOR_DB, LOG_MEL_SETTINGS
from umc_cli.audio.mel_scale import hz_to_mel, mel_band_edges_hz
from umc_cli.evaluation.conversion_metrics import log_spectral_distance
from umc_cli.evaluation.report.figure_file import check_figure_name, write_figure

COLOUR_RANGE_DB = 80.0
"""Below the loudest value by more than this, levels share the darkest colour."""

_TICKS_KHZ = (0, 0.5, 1, 2, 4, 8)
_COLUMN_INCHES = 1.75
_MARGIN_INCHES = 1.25
_SPECTROGRAM_INCHES = 1.45
_DIFFERENCE_INCHES = 1.05
_DIFFERENCE_STEP_DB = 5.0
_BAR_INCHES = 0.12
FONT_POINTS = 7.0
"""Of all text in these pictures."""
_TITLE_CHARACTERS = 24


def draw_conversion_figure(
    path: Path,
    input_log_mel: ArrayLike,
    differences: Mapping[str, ArrayLike | None],
    converted: Mapping[str, ArrayLike | None],
    source: str,
    band_centres_hz: Sequence[float] | NDArray[np.float64],
    recorded: Mapping[str, ArrayLike] | None = None,
) -> None:
    """Write `conversion_figure` of the same arguments to `path`, all or nothing; the suffix names the format.

    Raises:
        SettingsError: the suffix is not .png, .svg or .pdf.
        EnvironmentFault: the file cannot be written.
        ValueError: see `conversion_figure`.
    """
    check_figure_name(path)
    write_figure(path, conversion_figure(input_log_mel, differences, converted, source, band_centres_hz, recorded))


def conversion_figure(
    input_log_mel: ArrayLike,
    differences: Mapping[str, ArrayLike | None],
    converted: Mapping[str, ArrayLike | None],
    source: str,
    band_centres_hz: Sequence[float] | NDArray[np.float64],
    recorded: Mapping[str, ArrayLike] | None = None,
) -> Figure:
    """Return the picture of one segment converted to the targets of `converted`, in their order.

    Up to four targets fit the width of a page. The distances in it are `conversion_metrics.log_spectral_distance`, over
    all frames.

    Args:
        input_log_mel: [80, 80] (mel bands, frames), dB re full scale; recorded with the device called `source`.
        differences: per target, frequency-response difference (target minus source), [n bands] in dB; a target
            whose entry is None or missing gets an empty panel that says so, and so it is with `converted` and
            `recorded`.
        converted: per target, [80, 80], dB re full scale; None where there is no conversion to it.
        source: id or name of the source device.
        band_centres_hz: [n bands], rising; the centres of the bands of `differences`.
        recorded: per target, the same sound as the target itself recorded it, [80, 80], dB re full scale. None
            leaves the row out.

    Raises:
        ValueError: there is no target, an array has another shape, or a level is not finite.
    """
    if not converted:
        raise ValueError("there is no target to draw")
    source_image = _spectrogram(input_log_mel, "input")
    images = {
        target: _spectrogram(image, f"converted to {target}")
        for target, image in converted.items()
        if image is not None
    }
    truths = {target: _spectrogram(image, f"recorded by {target}") for target, image in (recorded or {}).items()}
    curves = {target: _difference(differences.get(target), band_centres_hz, target) for target in converted}
    shown = [source_image, *images.values(), *(truths[target] for target in converted if target in truths)]
    colour_limits = colour_limits_of(shown)

    rows = {"input": _SPECTROGRAM_INCHES}
    if any(curve is not None for curve in curves.values()):
        rows["difference"] = _DIFFERENCE_INCHES
    if images:
        rows["converted"] = _SPECTROGRAM_INCHES
    if recorded is not None:
        rows["recorded"] = _SPECTROGRAM_INCHES
    title_lines = max(_title(source, target).count("\n") + 1 for target in converted) + (recorded is not None)
    figure = Figure(
        figsize=(_MARGIN_INCHES + _COLUMN_INCHES * len(converted), sum(rows.values()) + 0.5 + 0.13 * title_lines),
        layout="constrained",
    )
    FigureCanvasAgg(figure)
    grid: NDArray[np.object_] = figure.subplots(
        len(rows), len(converted), squeeze=False, gridspec_kw={"height_ratios": list(rows.values())}
    )
    mappable = None
    for column, target in enumerate(converted):
        axes: dict[str, Axes] = dict(zip(rows, grid[:, column], strict=True))
        axes["input"].set_title(_title(source, target), fontsize=FONT_POINTS, fontweight="bold", parse_math=False)
        mappable = draw_spectrogram(axes["input"], source_image, colour_limits)
        if "difference" in axes:
            limit_db = _difference_limit_db(list(curves.values()))
            _draw_difference(axes["difference"], curves[target], band_centres_hz, limit_db)
        if "converted" in axes:
            draw_spectrogram(axes["converted"], images.get(target), colour_limits, "not converted")
        if "recorded" in axes:
            draw_spectrogram(axes["recorded"], truths.get(target), colour_limits)
        if target in truths:
            where = axes["converted" if "converted" in axes else "recorded"]
            where.set_title(_distances(source_image, images.get(target), truths[target]), fontsize=FONT_POINTS)
    _label_rows(grid, list(rows))
    if mappable is not None:
        below = min(float(image.min()) for image in shown) < colour_limits[0]
        bar = figure.colorbar(
            mappable, ax=grid.ravel().tolist(), label="level (dB re full scale)", fraction=0.15,
            extend="min" if below else "neither", extendfrac=0.02,
            aspect=sum(rows.values()) / _BAR_INCHES, pad=_BAR_INCHES / figure.get_figwidth(),
        )  # fmt: skip
        bar.ax.tick_params(labelsize=FONT_POINTS)
        bar.ax.yaxis.label.set_fontsize(FONT_POINTS)
    return figure


def draw_spectrogram(
    axes: Axes,
    image: NDArray[np.float64] | None,
    colour_limits: tuple[float, float],
    without: str = "no recording",
) -> AxesImage | None:
    """Draw a log-mel spectrogram [80, 80] in dB; None draws the words `without`."""
    settings = LOG_MEL_SETTINGS
    axes.tick_params(labelsize=FONT_POINTS)
    end_ms = 1000 * settings.n_frames * settings.hop_samples / settings.sample_rate_hz
    # Equal steps on the mel axis; the outer half of the first and the last band lies outside the picture.
    edges_mel = hz_to_mel(mel_band_edges_hz(settings.n_mels))
    half_band = (edges_mel[1] - edges_mel[0]) / 2
    bottom, top = edges_mel[1] - half_band, edges_mel[-2] + half_band
    axes.set_xlim(0, end_ms)
    axes.set_ylim(bottom, top)
    axes.set_xticks([0, 300, 600, 900])
    axes.set_yticks(hz_to_mel(np.array(_TICKS_KHZ[1:]) * 1000), [f"{tick:g}" for tick in _TICKS_KHZ[1:]])
    if image is None:
        _say(axes, without)
        return None
    return axes.imshow(
        image, origin="lower", aspect="auto", interpolation="nearest", cmap="magma",
        extent=(0, end_ms, bottom, top), vmin=colour_limits[0], vmax=colour_limits[1],
    )  # fmt: skip


def _draw_difference(
    axes: Axes,
    difference_db: NDArray[np.float64] | None,
    band_centres_hz: Sequence[float] | NDArray[np.float64],
    limit_db: float,
) -> None:
    axes.tick_params(labelsize=FONT_POINTS)
    axes.set_xlim(0, float(hz_to_mel(LOG_MEL_SETTINGS.f_max_hz)))
    axes.set_ylim(-limit_db, limit_db)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.set_xticks(hz_to_mel(np.array(_TICKS_KHZ) * 1000), [f"{tick:g}" for tick in _TICKS_KHZ])
    if difference_db is None:
        _say(axes, "response unknown")
        return
    axes.axhline(0, color="0.6", linewidth=0.6)
    axes.grid(color="0.9", linewidth=0.4)
    mel = hz_to_mel(np.asarray(band_centres_hz, dtype=float))
    axes.fill_between(mel, difference_db, color="tab:blue", alpha=0.15, linewidth=0)
    axes.plot(mel, difference_db, color="tab:blue", linewidth=1.0)


def _label_rows(grid: NDArray[np.object_], names: Sequence[str]) -> None:
    """Name the rows at the left; write ticks and units once per row and column, where panels share an axis."""
    for row, name in enumerate(names):
        unit = "target − source (dB)" if name == "difference" else "frequency (kHz)"
        grid[row, 0].set_ylabel(f"{name}\n{unit}", fontsize=FONT_POINTS)
        for axes in grid[row, 1:]:
            axes.tick_params(labelleft=False)
        for axes in grid[row]:
            if name == "difference":
                axes.set_xlabel("frequency (kHz)", fontsize=FONT_POINTS)
            elif row == len(names) - 1:
                axes.set_xlabel("time (ms)", fontsize=FONT_POINTS)
            else:
                axes.tick_params(labelbottom=False)


def _title(source: str, target: str) -> str:
    one_line = f"{source} → {target}"
    if len(one_line) <= _TITLE_CHARACTERS:
        return one_line
    return "\n".join(wrap(source, _TITLE_CHARACTERS) + wrap(f"→ {target}", _TITLE_CHARACTERS))


def _distances(given: NDArray[np.float64], converted: NDArray[np.float64] | None, true: NDArray[np.float64]) -> str:
    """Return how far what was given, and what was made of it, are from what the target recorded."""
    of_input, *of_converted = (
        f"{log_spectral_distance(image[None].astype(np.float32), true[None].astype(np.float32))[0]:.1f} dB"
        for image in (given, converted)
        if image is not None
    )
    return f"distance {of_converted[0]} (input {of_input})" if of_converted else f"distance of input {of_input}"


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.5", fontsize=FONT_POINTS)


def _spectrogram(image: ArrayLike, what: str) -> NDArray[np.float64]:
    array = np.asarray(image, dtype=float)
    wanted = (LOG_MEL_SETTINGS.n_mels, LOG_MEL_SETTINGS.n_frames)
    if array.shape != wanted:
        raise ValueError(f"{what}: a log-mel spectrogram is {list(wanted)}, not {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{what}: the log-mel spectrogram holds values that are not finite")
    return array


def _difference(
    difference_db: ArrayLike | None, band_centres_hz: Sequence[float] | NDArray[np.float64], target: str
) -> NDArray[np.float64] | None:
    if difference_db is None:
        return None
    array = np.asarray(difference_db, dtype=float)
    if array.shape != (len(band_centres_hz),):
        raise ValueError(f"difference of {target}: {list(array.shape)} values for {len(band_centres_hz)} band centres")
    return array


def _difference_limit_db(curves: Sequence[NDArray[np.float64] | None]) -> float:
    largest = max((float(np.abs(curve).max()) for curve in curves if curve is not None), default=0.0)
    return _DIFFERENCE_STEP_DB * max(1, float(np.ceil(1.02 * largest / _DIFFERENCE_STEP_DB)))


def colour_limits_of(images: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return the levels, in dB, that the ends of one colour scale stand for."""
    loudest = max(float(image.max()) for image in images)
    quietest = min(float(image.min()) for image in images)
    # Digital silence alone would leave no range to map.
    return max(quietest, loudest - COLOUR_RANGE_DB, FLOOR_DB), max(loudest, FLOOR_DB + 1)
