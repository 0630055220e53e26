"""What is learnt from: recordings of healthy assets as windows, cut by the code that the detector serves by.

From the historian's Parquet files, or from CSV files, each of which is the recording of one asset.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from twinloop.contracts.frames import Frame
from twinloop.contracts.models import Trained
from twinloop.contracts.times import utc
from twinloop.features.windows import WindowSpec
from twinloop.trainer.errors import BadRecording
from twinloop.trainer.windows import cut, frames_of_assets
from twinloop.tritonio.server import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """The windows of one asset in their order, float32 [N, window, signals], and the times of its first and
    its last sample, where they are known."""

    asset: str
    windows: Floats
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """Of assets with the same signals. `source` says where they were read."""

    source: str
    signal_set: str
    spec: WindowSpec
    recordings: tuple[Recording, ...]

    @property
    def trained(self) -> Trained:
        """What a card says of them."""
        since = [one.since for one in self.recordings if one.since is not None]
        until = [one.until for one in self.recordings if one.until is not None]
        return Trained(
            source=self.source,
            assets=tuple(one.asset for one in self.recordings),
            windows=sum(len(one.windows) for one in self.recordings),
            since=min(since, default=None),
            until=max(until, default=None),
        )

    def digest(self) -> str:
        """Equal for equal windows, in hex."""
        sha = hashlib.sha256(repr((self.signal_set, self.spec)).encode())
        for one in self.recordings:
            sha.update(f"{one.asset} {len(one.windows)}".encode())
            sha.update(np.ascontiguousarray(one.windows).tobytes())
        return sha.hexdigest()


def from_parquet(
    folder: Path,
    signal_set: str,
    spec: WindowSpec,
    assets: Sequence[str],
    since: datetime | None = None,
    until: datetime | None = None,
) -> Recordings:
    """See `frames_of_assets`. Raises `BadRecording`."""
    frames = frames_of_assets(folder, signal_set, assets, since, until)
    found = tuple(
        Recording(
            asset,
            cut(those, spec),
            utc(min(frame.first_at_ns for _, frame in those)),
            utc(max(frame.first_at_ns + (len(frame.samples) - 1) * frame.period_ns for _, frame in those)),
        )
        for asset, those in frames.items()
    )
    return Recordings(f"{folder.name} in Parquet", signal_set, spec, found)


def from_csv(paths: Sequence[Path], signal_set: str, spec: WindowSpec, rows: int | None = None) -> Recordings:
    """The first `rows` rows of each file, or all. Values are separated by `,` or `;`; the header names the
    signals among its columns. Raises `BadRecording`, with file and line."""
    if not paths:
        raise BadRecording("no CSV file is named")
    found = tuple(Recording(path.stem, of_rows(read_csv(path, spec.signals, rows), spec)) for path in paths)
    return Recordings(", ".join(path.name for path in paths), signal_set, spec, found)


def read_csv(path: Path, signals: Sequence[str], rows: int | None = None) -> Floats:
    """The columns `signals`, float32 [rows, signals]."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            separator = ";" if ";" in file.readline() else ","
            file.seek(0)
            lines = csv.reader(file, delimiter=separator)
            header = next(lines, [])
            if missing := [name for name in signals if header.count(name) != 1]:
                raise BadRecording(f"{path}: the header must have the column {missing[0]!r} once")
            places = [header.index(name) for name in signals]
            values: list[list[float]] = []
            for line in lines:
                if rows is not None and len(values) == rows:
                    break
                if line:
                    try:
                        values.append([float(line[place]) for place in places])
                    except (ValueError, IndexError):
                        why = "not a number for every signal"
                        raise BadRecording(f"{path}, line {lines.line_num}: {why}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecording(f"{path} cannot be read: {error}") from error
    table = np.array(values, np.float32).reshape(-1, len(places))
    if not np.isfinite(table).all():
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


def of_rows(rows: Floats, spec: WindowSpec) -> Floats:
    """The windows of consecutive rows [N, signals]."""
    whole = Frame(
        asset="",
        signal_set="",
        sequence=0,
        first_at_ns=0,
        period_ns=0,
        samples=rows,
        observed_at_ns=0,
        event_id="",
        trace_id="",
    )
    return cut([(0, whole)], spec)
