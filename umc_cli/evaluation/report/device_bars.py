"""Macro F1 as bars, for a page: a chart for each device, a bar for each row of the table, with its interval."""

from collections.abc import Sequence

from markupsafe import Markup

from umc_cli.evaluation.device_table import TableRow
from umc_cli.evaluation.macro_f1 import Interval

N_COLOURS = 8
"""The page's style defines the classes `series-0` to `series-7`."""

_LABEL_WIDTH, _BAR_WIDTH, _VALUE_WIDTH = 200, 320, 50
_BAR_HEIGHT, _BAR_STEP, _HEADING = 12, 17, 24
_LABEL_CHARACTERS = 32


def device_bars(devices: Sequence[str], rows: Sequence[TableRow]) -> Markup:
    """Return an SVG element for each device: macro F1 from 0 to 1, with the bootstrap's 95 % interval as a line.

    A row's own source is marked by a hollow bar: it is no test of another device. Names are escaped.
    """
    return Markup("").join(_device(device, rows) for device in devices)


def _device(device: str, rows: Sequence[TableRow]) -> Markup:
    several = len({row.source for row in rows}) > 1
    bars, y = [], _HEADING
    for index, row in enumerate(rows):
        if (scores := row.devices.get(device)) is not None:
            name = f"{row.label} from {row.source}" if several else row.label
            bars.append(_bar(name, scores.macro_f1, scores.bootstrap, index, y, row.source == device))
            y += _BAR_STEP
    ticks = [
        Markup('<text class="tick" x="{:.0f}" y="{}">{:.1f}</text>').format(_x(tick / 5), y + 10, tick / 5)
        for tick in range(6)
    ]
    heading = Markup('<text class="group" x="0" y="16">{}</text>').format(device)
    width, height = _LABEL_WIDTH + _BAR_WIDTH + _VALUE_WIDTH, y + 16
    return Markup(
        '<svg class="bars" role="img" aria-label="Macro F1 on {}, with 95 % intervals over recordings" '
        'viewBox="0 0 {} {}" width="{}" height="{}">{}</svg>'
    ).format(device, width, height, width, height, Markup("").join([_grid(_HEADING, y), heading, *bars, *ticks]))


def _bar(name: str, score: float, interval: Interval | None, index: int, y: int, is_source: bool) -> Markup:
    shown = name if len(name) <= _LABEL_CHARACTERS else name[: _LABEL_CHARACTERS - 1] + "…"
    middle = y + _BAR_HEIGHT / 2
    line = Markup("")
    ends = ""
    if interval:
        ends = f", {interval.low:.3f} to {interval.high:.3f}"
        low, high = _x(interval.low), _x(interval.high)
        line = Markup(
            '<path class="interval" d="M{low:.1f} {m:.1f}H{high:.1f}M{low:.1f} {t:.1f}v6M{high:.1f} {t:.1f}v6"/>'
        ).format(low=low, high=high, m=middle, t=middle - 3)
    colour = f"series-{index % N_COLOURS}" + (" source" if is_source else "")
    return Markup(
        '<g><title>{full}</title><text class="label" x="{lx}" y="{ty:.1f}">{shown}</text>'
        '<rect class="{colour}" x="{x}" y="{y}" width="{w:.1f}" height="{h}"/>{line}'
        '<text class="value" x="{vx}" y="{ty:.1f}">{score:.3f}</text></g>'
    ).format(
        full=f"{name}: {score:.3f}{ends}{' (its source)' if is_source else ''}",
        lx=_LABEL_WIDTH - 8, ty=middle + 4, shown=shown, colour=colour,
        x=_LABEL_WIDTH, y=y, w=_BAR_WIDTH * score, h=_BAR_HEIGHT, line=line,
        vx=_LABEL_WIDTH + _BAR_WIDTH + 10, score=score,
    )  # fmt: skip


def _grid(top: int, bottom: int) -> Markup:
    lines = "".join(f"M{_x(tick / 5):.0f} {top - 2}V{bottom}" for tick in range(6))
    return Markup('<path class="grid" d="{}"/>').format(lines)


def _x(score: float) -> float:
    return _LABEL_WIDTH + _BAR_WIDTH * score
