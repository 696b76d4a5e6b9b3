"""The rows of a table of classifiers: seeds that belong together, references for the gap, pairs to compare."""

from collections.abc import Iterable, Sequence

from umc_cli.errors import SettingsError, guess
from umc_cli.evaluation.device_table import TableRow, with_gap_closed
from umc_cli.sec.models import SecModel, some

BASELINE_METHOD, IDEAL_METHOD = "none", "ideal"

ComparedModels = tuple[tuple[str, str], list[SecModel], list[SecModel]]
"""What the two sides are called, and the models of either."""


def grouped_by_seed(models: Iterable[SecModel], warnings: list[str]) -> list[tuple[str, list[SecModel]]]:
    """Return the rows of a table: its label, and the models that differ in nothing but their seed.

    Where one source and method has several rows, because something else differs, their labels name a run.
    """
    groups: dict[str, list[SecModel]] = {}
    for model in models:
        groups.setdefault(model.group, []).append(model)
    rows = sorted(groups.values(), key=lambda group: (group[0].source, group[0].method, group[0].name))
    kinds = [(group[0].source, group[0].method) for group in rows]
    labelled = []
    for group in rows:
        first = group[0]
        alone = kinds.count((first.source, first.method)) == 1
        labelled.append((first.method if alone else f"{first.method} [{first.name}]", group))
        seeds = [model.seed for model in group]
        if len(set(map(str, seeds))) < len(seeds):
            warnings.append(
                f"{', '.join(model.name for model in group)}: same settings and same seed; "
                "they are counted as several seeds"
            )
    return labelled


def with_gaps(
    rows: Sequence[TableRow], baseline_name: str | None, ideal_name: str | None, warnings: list[str]
) -> list[TableRow]:
    """Return the rows with the share of the gap that each closes, from the baseline to the ideal row of its source.

    Raises:
        SettingsError: no model has the name of the baseline or of the ideal row.
    """
    for name in (baseline_name, ideal_name):
        if name is not None and not any(name in (row.method, row.label, *row.models) for row in rows):
            raise SettingsError(
                f"no model {name!r}", f"{guess(name, _names_of(rows))}there are: {some(_names_of(rows))}"
            )
    result = []
    for row in rows:
        baseline = _reference(rows, row.source, baseline_name, BASELINE_METHOD)
        ideal = _reference(rows, row.source, ideal_name, IDEAL_METHOD)
        closed = with_gap_closed(row, baseline, ideal) if baseline and ideal else row
        if baseline and ideal and closed.gap_closed is None:
            warnings.append(
                f"{row.label} of {row.source}: no share of the gap, as {ideal.label} is not better than "
                f"{baseline.label}, or they were scored on other devices"
            )
        result.append(closed)
    return result


def _reference(rows: Sequence[TableRow], source: str, name: str | None, method: str) -> TableRow | None:
    if name is not None:
        for row in rows:
            if name in row.models:
                return row
    wanted = name or method
    found = [row for row in rows if row.source == source and wanted in (row.method, row.label)]
    return found[0] if len(found) == 1 else None


def _names_of(rows: Iterable[TableRow]) -> list[str]:
    return [name for row in rows for name in row.models]


def parse_pair(text: str, labelled: Sequence[tuple[str, list[SecModel]]]) -> ComparedModels:
    """Return the two sides of `--compare A:B`.

    Raises:
        SettingsError: it is no pair, or one side is unknown, ambiguous, of other classes, or the same as the other.
    """
    first, separator, second = text.partition(":")
    if not (first and separator and second):
        raise SettingsError(f"--compare {text!r} is not a pair", "write A:B, with runs or methods")
    left, right = (_models_called(name, labelled) for name in (first, second))
    if {model.classes for model in left} != {model.classes for model in right}:
        differing = sorted(set(left[0].classes) ^ set(right[0].classes))
        raise SettingsError(
            f"{first} and {second} cannot be compared: they know different classes"
            + (f", such as {some(differing)}" if differing else ", in another order"),
            "train both on recordings of the same labels",
        )
    cuts = {(each.features.seconds, each.features.read_rate_hz) if each.features else None for each in (*left, *right)}
    if len(cuts) > 1:
        raise SettingsError(
            f"{first} and {second} cannot be compared: they are scored on segments of other lengths or rates",
            "train both with the same --feature-seconds and --feature-rate",
        )
    if left == right:
        raise SettingsError(f"--compare {text!r} names the same models twice", "name two")
    return (first, second), left, right


def _models_called(name: str, labelled: Sequence[tuple[str, list[SecModel]]]) -> list[SecModel]:
    for _, group in labelled:
        for model in group:
            if model.name == name:
                return [model]
    found = [group for label, group in labelled if name in (label, group[0].method)]
    if len(found) == 1:
        return found[0]
    names = [model.name for _, group in labelled for model in group]
    runs = some(names)
    if found:
        raise SettingsError(
            f"{name!r} means several rows, with different sources or settings",
            f"name runs, or choose one --source: {runs}",
        )
    raise SettingsError(f"no model {name!r}", f"{guess(name, names)}there are: {runs}")
