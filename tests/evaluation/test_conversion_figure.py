"""The picture of a conversion: the right panels in the right places, on one scale, in a valid file."""

from pathlib import Path
from xml.etree import ElementTree

import librosa
import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from umc_cli.audio.mel_scale import mel_band_edges_hz
from umc_cli.errors import SettingsError
from umc_cli.evaluation.report.conversion_figure import conversion_figure, draw_conversion_figure

CENTRES_HZ = np.array(mel_band_edges_hz(128)[1:-1])
INPUT = np.linspace(-70, -10, 80 * 80).reshape(80, 80)
DIFFERENCE = np.linspace(-3, 12, 128)
CONVERTED = {"ipad7": INPUT + 6, "pixel3": INPUT - 4}
DIFFERENCES = {"ipad7": DIFFERENCE, "pixel3": None}


def picture(recorded: dict[str, np.ndarray] | None = None) -> Figure:
    return conversion_figure(INPUT, DIFFERENCES, CONVERTED, "iphone14", CENTRES_HZ, recorded)


def panels(figure: Figure, columns: int) -> list[list[Axes]]:
    """Return the axes by row; the colour bar is the last one of the figure."""
    axes = figure.axes[:-1]
    return [axes[start : start + columns] for start in range(0, len(axes), columns)]


def test_a_column_per_target_reads_input_difference_converted() -> None:
    rows = panels(picture(), 2)
    assert [axes.get_title() for axes in rows[0]] == ["iphone14 → ipad7", "iphone14 → pixel3"]
    assert [row[0].get_ylabel().partition("\n")[0] for row in rows] == ["input", "difference", "converted"]
    for axes in rows[0]:
        np.testing.assert_array_equal(axes.images[0].get_array(), INPUT)
    for axes, target in zip(rows[2], CONVERTED, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), CONVERTED[target])
        assert axes.images[0].origin == "lower", "low bands belong to the bottom"


def test_all_spectrograms_share_one_colour_scale() -> None:
    figure = picture({"ipad7": INPUT + 8})
    limits = {image.get_clim() for axes in figure.axes[:-1] for image in axes.images}
    assert limits == {(-74.0, -2.0)}  # 80 dB would reach to -82, where there is nothing
    assert figure.axes[-1].get_ylabel() == "level (dB re full scale)"


def test_the_colour_scale_ends_80_db_below_the_loudest_level() -> None:
    quiet_start = np.where(np.arange(80) < 10, -100.0, INPUT)
    figure = conversion_figure(quiet_start, {}, {"ipad7": INPUT}, "iphone14", CENTRES_HZ)
    assert figure.axes[0].images[0].get_clim() == (-90, -10)


def test_the_difference_is_drawn_over_the_mel_axis() -> None:
    known, unknown = panels(picture(), 2)[1]
    curve = known.lines[-1]
    np.testing.assert_allclose(curve.get_xdata(), librosa.hz_to_mel(CENTRES_HZ))
    np.testing.assert_array_equal(curve.get_ydata(), DIFFERENCE)
    assert known.get_ylim() == unknown.get_ylim() == (-15, 15)
    ticks = dict(zip((label.get_text() for label in known.get_xticklabels()), known.get_xticks(), strict=True))
    assert ticks["4"] == pytest.approx(librosa.hz_to_mel(4000))
    assert not unknown.lines
    assert unknown.texts[0].get_text() == "response unknown"


def test_a_frequency_tick_stands_at_the_band_that_holds_it() -> None:
    axes = panels(picture(), 2)[0][0]
    ticks = dict(zip((label.get_text() for label in axes.get_yticklabels()), axes.get_yticks(), strict=True))
    bottom, top = axes.images[0].get_extent()[2:]
    row = int((ticks["2"] - bottom) / (top - bottom) * 80)
    edges_hz = mel_band_edges_hz(80)
    centres_hz = np.array(edges_hz[1:-1])
    assert row == np.argmin(np.abs(librosa.hz_to_mel(centres_hz) - librosa.hz_to_mel(2000)))
    assert axes.images[0].get_extent()[:2] == [0, pytest.approx(928.8, abs=0.1)]


def test_recordings_of_the_target_make_a_fourth_row() -> None:
    rows = panels(picture({"ipad7": INPUT + 5}), 2)
    assert rows[3][0].get_ylabel().startswith("recorded")
    np.testing.assert_array_equal(rows[3][0].images[0].get_array(), INPUT + 5)
    assert rows[3][1].texts[0].get_text() == "no recording"
    assert len(panels(picture(), 2)) == 3


def test_how_far_from_the_recording_stands_above_the_conversion() -> None:
    converted = {"ipad7": INPUT + 6, "pixel3": None, "xperia1": INPUT}
    recorded = {"ipad7": INPUT + 8, "pixel3": INPUT - 3}
    rows = panels(conversion_figure(INPUT, DIFFERENCES, converted, "iphone14", CENTRES_HZ, recorded), 3)
    titles = [axes.get_title() for axes in rows[2]]
    assert titles == ["distance 2.0 dB (input 8.0 dB)", "distance of input 3.0 dB", ""]
    assert rows[2][1].texts[0].get_text() == "not converted"


def test_rows_of_which_nothing_is_known_are_left_out() -> None:
    nothing = dict.fromkeys(CONVERTED)
    figure = conversion_figure(INPUT, {}, nothing, "iphone14", CENTRES_HZ, {"pixel3": INPUT + 5})
    rows = panels(figure, 2)
    assert [row[0].get_ylabel().partition("\n")[0] for row in rows] == ["input", "recorded"]
    assert [axes.get_title() for axes in rows[1]] == ["", "distance of input 5.0 dB"]
    assert rows[1][1].get_xlabel() == "time (ms)"


@pytest.mark.parametrize(("columns", "with_truth"), [(1, False), (2, True), (4, True)])
def test_writes_a_png_of_the_size_of_a_page(tmp_path: Path, columns: int, with_truth: bool) -> None:
    converted = {f"device{number}": INPUT + number for number in range(columns)}
    differences = dict.fromkeys(converted, DIFFERENCE)
    path = tmp_path / "figures" / "conversion.png"
    draw_conversion_figure(
        path, INPUT, differences, converted, "iphone14", CENTRES_HZ, converted if with_truth else None
    )
    pixels = matplotlib.image.imread(path)
    inches = np.array(pixels.shape[:2]) / 300
    assert 4 < inches[0] < 10
    assert 2.5 < inches[1] < 8.5
    assert pixels[..., :3].std() > 0.1, "the picture is blank"
    assert [file.name for file in path.parent.iterdir()] == ["conversion.png"], "a temporary file was left"


def test_svg_and_pdf_are_written_in_their_own_format(tmp_path: Path) -> None:
    for name in ("a.svg", "b.PDF"):
        draw_conversion_figure(tmp_path / name, INPUT, DIFFERENCES, CONVERTED, "iphone14", CENTRES_HZ)
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert (tmp_path / "b.PDF").read_bytes().startswith(b"%PDF-")


def test_names_are_shown_as_they_are() -> None:
    converted = {"a$b_{2}$c": INPUT, "the-tablet-of-the-kitchen": INPUT}
    figure = conversion_figure(INPUT, {}, converted, "x$y", CENTRES_HZ)
    figure.draw_without_rendering()
    titles = [axes.get_title() for axes in panels(figure, 2)[0]]
    assert titles == ["x$y → a$b_{2}$c", "x$y\n→ the-tablet-of-the-\nkitchen"]


def test_long_names_do_not_run_into_the_next_column() -> None:
    names = ["Sony Xperia 1 III / 5 III, bottom microphone", "Google Pixel 3, second bottom microphone"]
    figure = conversion_figure(INPUT, {}, dict.fromkeys(names, INPUT), "Sony Xperia 1 / 5, top microphone", CENTRES_HZ)
    figure.draw_without_rendering()
    left, right = (axes.title.get_window_extent() for axes in panels(figure, 2)[0])
    assert left.x1 < right.x0
    assert max(left.y1, right.y1) <= figure.bbox.y1


def test_digital_silence_can_be_drawn(tmp_path: Path) -> None:
    silence = np.full((80, 80), -100.0)
    draw_conversion_figure(tmp_path / "a.png", silence, {}, {"ipad7": silence}, "iphone14", CENTRES_HZ)
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_refuses_another_format_before_drawing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot draw a figure as 'a\.jpg'"):
        draw_conversion_figure(tmp_path / "a.jpg", INPUT, DIFFERENCES, CONVERTED, "iphone14", CENTRES_HZ)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"converted": {}}, "no target"),
        ({"input_log_mel": INPUT[:, :40]}, r"input: a log-mel spectrogram is \[80, 80\], not \[80, 40\]"),
        ({"converted": {"ipad7": INPUT[None]}}, "converted to ipad7: "),
        ({"converted": {"ipad7": INPUT * np.nan}}, "converted to ipad7: .* not finite"),
        ({"recorded": {"ipad7": INPUT[:4]}}, "recorded by ipad7: "),
        ({"differences": {"ipad7": DIFFERENCE[:80]}}, r"difference of ipad7: \[80\] values for 128"),
    ],
)
def test_refuses_arrays_of_another_shape(changes: dict[str, object], complaint: str) -> None:
    arguments = {
        "input_log_mel": INPUT,
        "differences": DIFFERENCES,
        "converted": CONVERTED,
        "source": "iphone14",
        "band_centres_hz": CENTRES_HZ,
    }
    with pytest.raises(ValueError, match=complaint):
        conversion_figure(**(arguments | changes))
