"""The rows of a manifest or another table: CSV, TSV or JSON lines as spreadsheets, scripts and data sets write them."""

import codecs
import csv
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from umc_cli.errors import SettingsError
from umc_cli.json_text import parse_json

REQUIRED_COLUMNS = ("path", "device", "label")

Row = dict[str, str] | tuple[str, str]
"""Texts by column; or why a line gives none, and what to do."""

_SEPARATORS = (",", "\t", ";", "|")
_HEAD_BYTES = 4096
_BYTE_ORDER_MARKS = {  # UTF-32's begins like UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class TableKind:
    """What a table is called, and what its columns are."""

    name: str = "manifest"
    required: tuple[str, ...] = REQUIRED_COLUMNS
    optional: tuple[str, ...] = ("split", "recording")
    takes_objects: bool = False
    """A value of JSON lines that is an object gives a column for each of its entries: `scores:rain`."""


MANIFEST = TableKind()


def manifest_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the number and the row of every line of a manifest that holds anything; see `table_rows`."""
    yield from table_rows(path, MANIFEST)


def table_rows(path: Path, kind: TableKind) -> Iterator[tuple[int, Row]]:
    """Yield the number and the row of every line that holds anything.

    The separator is that of a first line `sep=X`, else that of the suffix, else the one of comma, tab, semicolon and
    bar that gives most of the known columns. Blanks after a separator, empty rows, and columns without name and values
    are passed over. Encodings: UTF-8, UTF-16, and UTF-32 with a byte order mark.

    Raises:
        SettingsError: the file is missing, not text in one of these encodings, or lacks a required column.
    """
    encoding = "utf-8"
    try:
        with path.open("rb") as binary:
            encoding = _encoding(binary.read(_HEAD_BYTES))
        with path.open(encoding=encoding, newline="") as file:
            yield from _json_rows(file, kind) if path.suffix == ".jsonl" else _table_rows(file, path, kind)
    except OSError as error:
        raise SettingsError(f"cannot read {kind.name} {path}: {error.strerror}", "check the path") from error
    except UnicodeError as error:
        raise _not_text(path, encoding, kind) from error
    except csv.Error as error:
        raise SettingsError(
            f"{kind.name} {path} cannot be read: {error}",
            'close every quotation mark (one within a field is written twice: ""), and save it as UTF-8 text',
        ) from error


def columns_problem(columns: Sequence[str]) -> str | None:
    """Return what is wrong with the names of columns: one twice, or one that cannot name a column of a shard."""
    for column in columns:
        if columns.count(column) > 1:
            return f"a column {column!r} twice"
        if not column.strip(".") or not column.isprintable():
            return f"a column named {column!r}"
    return None


def _encoding(head: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding
    # Without a mark, every other byte of Latin letters in UTF-16 is zero; UTF-8 text has none.
    if head[1:2] == b"\0" and head[:1] != b"\0":
        return "utf-16-le"
    if head[:1] == b"\0" and head[1:2] != b"\0":
        return "utf-16-be"
    return "utf-8-sig"


def _not_text(path: Path, encoding: str, kind: TableKind) -> SettingsError:
    if not encoding.startswith("utf-8"):
        return SettingsError(
            f"{kind.name} {path} cannot be read: it is not {encoding.upper()} text", "save it as UTF-8 text"
        )
    with path.open("rb") as file:
        line = next((line for line, content in enumerate(file, start=1) if not _is_utf8(content)), 0)
    return SettingsError(
        f"{kind.name} {path} cannot be read: line {line} is not UTF-8 text",
        'save it as "CSV UTF-8" in the spreadsheet, or convert it: '
        f"iconv -f WINDOWS-1252 -t UTF-8 {shlex.quote(str(path))} > utf-8{path.suffix}",
    )


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _json_rows(file: TextIO, kind: TableKind) -> Iterator[tuple[int, Row]]:
    for line, text in enumerate(file, start=1):
        if text.strip():
            yield line, _json_row(text, kind)


def _json_row(text: str, kind: TableKind) -> Row:
    try:
        row = parse_json(text)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        return "is not a JSON object", "write one JSON object per line"
    if kind.takes_objects:
        row = {name: each for key, value in row.items() for name, each in _entries(key, value)}
    return {key: "" if value is None else str(value) for key, value in row.items()}


def _entries(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield key, value
        return
    for name, each in value.items():
        yield f"{key}:{name}", each


def _table_rows(file: TextIO, path: Path, kind: TableKind) -> Iterator[tuple[int, Row]]:
    n_before, first = 0, file.readline()
    own = "\t" if path.suffix == ".tsv" else ","
    separators: Sequence[str] = (own, *(each for each in _SEPARATORS if each != own))
    first_line = first.strip().strip('"')
    if first_line.lower().startswith("sep=") and len(first_line) == 5:
        separators = (first_line[4],)
        n_before, first = 1, file.readline()
    while first and not first.strip(" \t\r\n;,|\ufeff"):  # rows that a spreadsheet left empty
        n_before, first = n_before + 1, file.readline()
    separator = _separator(first, separators, (*kind.required, *kind.optional))
    reader = csv.reader(chain([first], file), delimiter=separator, skipinitialspace=True, strict=True)
    columns = [column.strip() for column in next(reader, [])]
    named = [column for column in columns if column]
    missing = [column for column in kind.required if column not in columns]
    if missing:
        raise SettingsError(
            f"{kind.name} {path} has no column {missing[0]!r}",
            f"required: {', '.join(kind.required)}; optional: {', '.join(kind.optional)}; "
            f"found: {', '.join(named) or 'none'}",
        )
    if wrong := columns_problem(named):
        raise SettingsError(f"{kind.name} {path} has {wrong}", "give every column a name of its own")
    n_columns, is_whole = len(columns), len(named) == len(columns)
    for fields in reader:
        if is_whole and len(fields) == n_columns and fields[0]:
            yield reader.line_num + n_before, dict(zip(columns, fields, strict=True))
            continue
        if not any(field.strip() for field in fields):
            continue
        surplus = [field for field in fields[n_columns:] if field.strip()]
        if len(fields) < n_columns or surplus:
            problem = "does not have as many fields as the header", "quote fields that hold the separator"
            yield reader.line_num + n_before, problem
        elif any(field.strip() and not column for column, field in zip(columns, fields, strict=False)):
            problem = "has a value in a column without a name", "give the column a name, or remove the value"
            yield reader.line_num + n_before, problem
        else:
            row = zip(columns, fields, strict=False)
            yield reader.line_num + n_before, {column: field for column, field in row if column}


def _separator(header: str, separators: Sequence[str], known: Collection[str]) -> str:
    """Return the separator that gives most of the known columns; the first of equals."""

    def n_known(separator: str) -> int:
        columns = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
        return len({column.strip() for column in columns} & set(known))

    return max(separators, key=n_known)
