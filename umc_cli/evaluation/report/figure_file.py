"""Figures as files: the formats, and how one appears complete or not at all."""

from io import BytesIO
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from umc_cli.atomic_write import atomic_path
from umc_cli.errors import SettingsError

FIGURE_FORMATS = ("png", "svg", "pdf")


def check_figure_name(path: Path) -> str:
    """Return the format that the suffix of `path` names.

    Raises:
        SettingsError: it is not .png, .svg or .pdf.
    """
    file_format = path.suffix.lower().removeprefix(".")
    if file_format not in FIGURE_FORMATS:
        raise SettingsError(f"cannot draw a figure as {path.name!r}", f"use {', '.join(FIGURE_FORMATS)}")
    return file_format


def figure_png(figure: Figure, dots_per_inch: int) -> bytes:
    """Return `figure` as a PNG."""
    png = BytesIO()
    _print_png(figure, png, dots_per_inch)
    return png.getvalue()


def _print_png(figure: Figure, file: BytesIO | Path, dots_per_inch: int) -> None:
    """Draw `figure` once: `savefig` draws it twice, the first time in vain where nothing is to be cut off."""
    figure.set_dpi(dots_per_inch)
    FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]


def write_figure(path: Path, figure: Figure, dots_per_inch: int = 300) -> None:
    """Write `figure` to `path`, all or nothing; the suffix names the format.

    Raises:
        SettingsError: the suffix is not .png, .svg or .pdf.
        EnvironmentFault: the file cannot be written.
    """
    file_format = check_figure_name(path)
    with atomic_path(path) as partial:
        if file_format == "png":
            _print_png(figure, partial, dots_per_inch)
        else:
            # Without a date the same data gives the same file.
            undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}[file_format]
            figure.savefig(partial, format=file_format, dpi=dots_per_inch, metadata=undated)
