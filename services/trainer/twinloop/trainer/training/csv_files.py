"""CSV files as frames: each file is the recording of one asset, with a column for each signal.

A column `part_id` says of which part a row is, and one `time` when it was measured (ISO 8601; UTC if it names
no zone); neither must be there. A frame ends where another part begins, and where time jumps: then no window
spans what the detector would not let it span.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.frames import Frame
from twinloop.contracts.times import unix_ns
from twinloop.trainer.as_csv import NO_SIGNALS
from twinloop.trainer.errors import BadRecording
from twinloop.trainer.words import time
from twinloop.tritonio.server import Floats

JUMP: Final = 1.5
"""Of the usual step in time, the least that is a gap: a single sample that is missing makes two."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The rows of a file: `values` float32 [rows, signals]; of each row its part ("": none), and its time
    (Unix nanoseconds, int64 [rows]), where the file has them."""

    values: Floats
    parts: Sequence[str] | None = None
    times_ns: NDArray[np.int64] | None = None

    def begins(self) -> NDArray[np.int64]:
        """The rows at which a part, or a stretch without a gap, begins; the first row is one."""
        breaks = np.zeros(len(self.values), np.bool_)
        breaks[:1] = True
        if self.parts is not None:
            breaks[1:] |= [here != before for before, here in zip(self.parts, self.parts[1:], strict=False)]
        if self.times_ns is not None:
            breaks[1:] |= _jumps(np.diff(self.times_ns))
        return np.flatnonzero(breaks)


def _jumps(steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where time goes back, or forth by more than it usually does. Rows may share a time."""
    forth = steps[steps > 0]
    usual = np.median(forth) if len(forth) else np.inf
    jumps: NDArray[np.bool_] = (steps < 0) | (steps > JUMP * usual)
    return jumps


def frames(table: Table, hop: int) -> Iterator[tuple[int, Frame]]:
    """The rows as frames, each with its number. Windows of every `hop` rows begin where a frame does."""
    begins = table.begins().tolist()
    for n, (first, end) in enumerate(zip(begins, [*begins[1:], len(table.values)], strict=True)):
        yield (
            n,
            Frame(
                asset="",
                signal_set="",
                sequence=2 * hop * n,  # never the one after the last: a gap
                first_at_ns=0 if table.times_ns is None else int(table.times_ns[first]),
                period_ns=0,
                samples=table.values[first:end],
                observed_at_ns=0,
                event_id="",
                trace_id="",
                part_id="" if table.parts is None else table.parts[first],
            ),
        )


def read_csv(path: Path, signals: Sequence[str], rows: int | None = None) -> Table:
    """The first `rows` rows, or all. Values are separated by `,` or `;`; the header names the `signals` among
    its columns. Raises `BadRecording`, with file and line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            separator = ";" if ";" in file.readline() else ","
            file.seek(0)
            table = _table(path, csv.reader(file, delimiter=separator), signals, rows)
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecording(f"{path} cannot be read: {error}") from error
    if not np.isfinite(table.values).all():
        raise BadRecording(f"{path}: a value is no finite number")
    return table


def header_of(path: Path) -> list[str]:
    """The names of a CSV file's columns. Raises `BadRecording`."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecording(f"{path} cannot be read: {error}") from error
    return first.split(";" if ";" in first else ",")


class _Lines(Protocol):
    """A `csv.reader`."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


def _table(path: Path, lines: _Lines, signals: Sequence[str], rows: int | None) -> Table:
    header = next(lines, [])
    if missing := [name for name in signals if header.count(name) != 1]:
        raise BadRecording(f"{path}: the header must have the column {missing[0]!r} once")
    places = [header.index(name) for name in signals]
    at, part = (
        header.index(name) if header.count(name) == 1 and name not in signals else None for name in NO_SIGNALS
    )
    values, times, parts = list[list[float]](), list[int](), list[str]()
    for line in _some(lines, rows):
        try:
            values.append([float(line[place]) for place in places])
            parts.append("" if part is None else line[part])
            said = "" if at is None else line[at]
        except (ValueError, IndexError):
            raise BadRecording(f"{path}, line {lines.line_num}: not a number for every signal") from None
        if at is not None:
            times.append(_time_ns(said, path, lines.line_num))
    return Table(
        np.array(values, np.float32).reshape(-1, len(places)),
        None if part is None else parts,
        None if at is None else np.array(times, np.int64),
    )


def _some(lines: Iterable[list[str]], rows: int | None) -> Iterator[list[str]]:
    """So many lines that are not empty, or all."""
    left = rows
    for line in lines:
        if left == 0:
            return
        if line:
            left = None if left is None else left - 1
            yield line


def _time_ns(text: str, path: Path, line: int) -> int:
    try:
        return unix_ns(time(text))
    except ValueError:
        raise BadRecording(f"{path}, line {line}: {text!r} is no time in ISO 8601") from None
