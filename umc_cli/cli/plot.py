"""A curve as text: small plots for terminals."""

from collections.abc import Sequence

_HALVES = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}


def text_plot(
    values: Sequence[float], width: int, height: int, unit: str, least_range: float = 6.0, decimals: int = 1
) -> list[str]:
    """Return `height` lines that show `values` from left to right, each column the mean of the values under it.

    The scale is as wide as the values need, at least `least_range` units, and stands at the left.
    """
    columns = [
        sum(part) / len(part)
        for index in range(width)
        if (
            part := values[
                index * len(values) // width : max(index * len(values) // width + 1, (index + 1) * len(values) // width)
            ]
        )
    ]
    middle = (max(columns) + min(columns)) / 2
    half_range = max(least_range / 2, (max(columns) - min(columns)) / 2)
    low, high = middle - half_range, middle + half_range
    n_steps = 2 * height
    steps = [round((value - low) / (high - low) * (n_steps - 1)) for value in columns]
    lines = []
    for row in reversed(range(height)):
        level = low + (high - low) * (2 * row + 0.5) / (n_steps - 1)
        cells = "".join(_HALVES[(step == 2 * row + 1, step == 2 * row)] for step in steps)
        lines.append(f"{level:7.{decimals}f} {unit} │{cells}".rstrip())
    return lines
