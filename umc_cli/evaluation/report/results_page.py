"""Scores of models on devices as one HTML page that needs nothing else: no network, no other file.

The page is filled in by jinja2, which escapes every name; its policy allows its own script and no other, and forbids
loading anything.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from umc_cli.evaluation.device_table import ScoredModel, SourceMatrix, TableRow
from umc_cli.evaluation.paired_comparison import Comparison
from umc_cli.evaluation.report import results_table
from umc_cli.evaluation.report.confusion_figure import Confused, confusion_svg, most_confused, summed_confusion
from umc_cli.evaluation.report.device_bars import device_bars

_FOLDER = Path(__file__).parent
_MOST_CONFUSED = 10
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A PNG that is shown in the page."""

    caption: str
    png: bytes
    width: int | None = None
    """In CSS pixels, kept where the window is narrower: it is scrolled then. None: at most that of the page."""


@dataclass(frozen=True)
class SpectrogramRows:
    """One sound event from one source device, drawn after Figure 4 of the paper."""

    source: str
    event: str
    """Which event it is, or why there is none."""
    pictures: Sequence[Picture]
    notes: Sequence[str]
    """What is missing in the pictures, and why."""


@dataclass(frozen=True)
class ResultsPage:
    """What the page shows."""

    devices: Sequence[str]
    rows: Sequence[TableRow]
    models: Sequence[ScoredModel]
    matrices: Sequence[SourceMatrix] = ()
    comparisons: Sequence[Comparison] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How the scores were made: settings, versions, checksums; plain JSON values."""
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name of model: file, sha256, how it was trained; plain JSON values."""
    spectrograms: Sequence[SpectrogramRows] = ()
    pictures: Sequence[Picture] = ()
    """Given by the user."""
    warnings: Sequence[str] = ()
    title: str = "Scores of sound event classifiers"


@dataclass(frozen=True)
class _RowDetails:
    """What stands below the tables for one row."""

    row: TableRow
    confusions: list[Markup]
    most_confused: list[Confused]
    per_class_f1: list[tuple[str, list[float | None]]]


def render_results_page(page: ResultsPage) -> str:
    """Return the page as HTML.

    Raises:
        ValueError: a picture is not a PNG.
    """
    for picture in (*page.pictures, *(picture for rows in page.spectrograms for picture in rows.pictures)):
        if not is_png(picture.png):
            raise ValueError(f"the picture {picture.caption!r} is not a PNG")
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = _json
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    script = (_FOLDER / "results_page.js").read_text(encoding="utf-8")
    html = environment.get_template("results_page.html.jinja").render(
        page=page,
        text=results_table,
        bars=device_bars(page.devices, page.rows),
        details=[_details(row, page.models) for row in page.rows],
        style=Markup((_FOLDER / "results_page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    # Names of files may hold bytes that are not UTF-8.
    return html.encode("utf-8", "backslashreplace").decode()


def _json(content: Mapping[str, Any]) -> str:
    """Return a JSON object with a line for each key, and for each key of the objects in it."""
    lines = []
    for name, value in content.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict) and value:
            inner = (f"    {json.dumps(key)}: {json.dumps(each, ensure_ascii=False)}" for key, each in value.items())
            text = "{\n" + ",\n".join(inner) + "\n  }"
        lines.append(f"  {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def is_png(content: bytes) -> bool:
    """Tell whether bytes begin as a PNG does."""
    return content.startswith(_PNG_SIGNATURE)


def _details(row: TableRow, models: Sequence[ScoredModel]) -> _RowDetails:
    own = [model for model in models if model.name in row.models]
    classes = own[0].classes
    others = [device for device in row.devices if device != row.source]
    by_device = {device: summed_confusion(own, [device]) for device in row.devices}
    return _RowDetails(
        row=row,
        confusions=[confusion_svg(counts, classes, device) for device, counts in by_device.items()],
        most_confused=most_confused(summed_confusion(own, others or list(row.devices)), classes, _MOST_CONFUSED),
        per_class_f1=[
            (name, [_mean_f1(own, device, number) for device in row.devices]) for number, name in enumerate(classes)
        ],
    )


def _mean_f1(models: Sequence[ScoredModel], device: str, number: int) -> float | None:
    known = [f1 for model in models if (f1 := model.devices[device].per_class_f1[number]) is not None]
    return sum(known) / len(known) if known else None
