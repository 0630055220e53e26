"""Recorded data: CSV files as frames. Reads files; decides nothing about Kafka.

A file is one asset, a row one sample. A row keeps its number in the file whatever is left out before it, so
verdicts on a part of a file can be compared with verdicts on the whole. Columns of labels are never read.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.times import unix_ns
from twinloop.ingest.errors import BadSource, Refused
from twinloop.ingest.normalize import LAST_NS, Normalized, frame_of
from twinloop.ingest.signal_sets import CsvShape, SignalSet

_LARGEST: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no sample: `source` is `<folder>/<file>:<line>`, `line` its original bytes."""

    source: str
    line: bytes
    refused: Refused


class _Row(NamedTuple):
    number: int
    at_ns: int
    values: list[float]


def csv_files(folder: Path) -> list[Path]:
    """The CSV files in `folder`, `2.csv` before `10.csv`. Raises `BadSource` when there is none."""
    if not folder.is_dir():
        raise BadSource(f"{folder} is no folder")
    files = [path for path in folder.iterdir() if path.suffix.lower() == ".csv" and path.is_file()]
    if not files:
        raise BadSource(f"{folder} holds no .csv file")
    return sorted(files, key=lambda path: _natural(path.stem))


def _natural(stem: str) -> list[str | int]:
    """Text and numbers in turn, beginning with text, so that any two can be compared."""
    parts = re.split(r"([0-9]+)", stem)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def asset_of(path: Path, prefix: str) -> str:
    """`<prefix>.<folder>.<file>`, with `_` for what an asset path cannot hold."""
    names = (path.resolve().parent.name, path.stem)
    return ".".join([prefix, *(re.sub(r"[^A-Za-z0-9_-]", "_", name) for name in names)])


def frames(
    path: Path,
    signal_set: SignalSet,
    shape: CsvShape,
    asset: str,
    *,
    rows_per_frame: int = 1,
    first_row: int = 0,
) -> Iterator[Normalized | BadRow]:
    """The frames and bad rows of a file, in order, from row `first_row` on (the first row is 0).

    A frame's sequence is its first row's number divided by `rows_per_frame`. Times come from the file;
    where they name no zone they are UTC. Raises `BadSource` when the header lacks a column.
    """
    rows: list[_Row] = []
    for row in _rows(path, signal_set, shape, first_row):
        if isinstance(row, BadRow):
            yield row
            continue
        if rows and row.number // rows_per_frame != rows[0].number // rows_per_frame:
            yield _frame(asset, signal_set, rows, rows_per_frame)
            rows = []
        rows.append(row)
    if rows:
        yield _frame(asset, signal_set, rows, rows_per_frame)


def _frame(asset: str, signal_set: SignalSet, rows: list[_Row], rows_per_frame: int) -> Normalized:
    first_at_ns = rows[0].at_ns
    offsets = None
    if rows_per_frame > 1:
        offsets = np.array([max(0, row.at_ns - first_at_ns) for row in rows], np.uint64)
    frame = frame_of(
        asset=asset,
        signal_set=signal_set,
        sequence=rows[0].number // rows_per_frame,
        first_at_ns=first_at_ns,
        period_ns=0,
        samples=np.array([row.values for row in rows], np.float32),
        observed_at_ns=rows[-1].at_ns,
        offsets_ns=offsets,
    )
    return Normalized(frame, signal_set.kind)


def _rows(path: Path, signal_set: SignalSet, shape: CsvShape, first_row: int) -> Iterator[_Row | BadRow]:
    """Samples and bad rows; empty lines are no rows."""
    lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    try:
        header = _cells(lines[0], shape.delimiter) if lines else []
    except Refused as refused:
        raise BadSource(f"{path.name}: the header is {refused.detail}") from refused
    time_at, columns = _places(path, header, signal_set, shape)
    index = -1
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        index += 1
        if index < first_row:
            continue
        try:
            cells = _cells(line, shape.delimiter)
            if len(cells) != len(header):
                raise Refused(
                    Reason.WRONG_SIGNAL_COUNT, f"{len(cells)} columns where the header has {len(header)}"
                )
            yield _Row(index, _at_ns(cells[time_at]), _values(cells, columns, signal_set))
        except Refused as refused:
            yield BadRow(f"{path.resolve().parent.name}/{path.name}:{number}", line, refused)


def _places(
    path: Path, header: list[str], signal_set: SignalSet, shape: CsvShape
) -> tuple[int, tuple[int, ...]]:
    """Where the time and each signal are in a row."""
    wanted = (shape.time_column, *signal_set.columns)
    if wrong := [name for name in wanted if header.count(name) != 1]:
        raise BadSource(
            f"{path.name}: the header must have the column {wrong[0]!r} once"
            f" (columns divided by {shape.delimiter!r}: {', '.join(header)[:200]})"
        )
    return header.index(shape.time_column), tuple(header.index(name) for name in signal_set.columns)


def _cells(line: bytes, delimiter: str) -> list[str]:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise Refused(Reason.UNDECODABLE, f"not UTF-8: {error}") from error
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter), [])
    except csv.Error as error:
        raise Refused(Reason.UNDECODABLE, f"no CSV: {error}") from error


def _at_ns(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused(Reason.UNDECODABLE, f"{text[:80]!r} is no time such as 2020-03-09 10:14:33") from error
    at_ns = unix_ns(at if at.tzinfo else at.replace(tzinfo=UTC))
    if at_ns < 0:
        raise Refused(Reason.TOO_OLD, f"{text[:80]} is before 1970")
    if at_ns >= LAST_NS:
        raise Refused(Reason.IN_FUTURE, f"{text[:80]} is after 2261")
    return at_ns


def _values(cells: list[str], columns: tuple[int, ...], signal_set: SignalSet) -> list[float]:
    try:
        values = [float(cells[column]) for column in columns]
    except ValueError as error:
        raise Refused(Reason.UNDECODABLE, f"a signal is no number: {str(error)[:120]}") from error
    if not (math.isfinite(sum(values)) and min(values) >= -_LARGEST and max(values) <= _LARGEST):
        raise Refused(Reason.NON_FINITE, f"one of {values} is no finite 32-bit number")
    return values
