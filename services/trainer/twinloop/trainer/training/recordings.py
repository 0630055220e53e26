"""What is learnt from: recordings of healthy assets as windows, cut by the code that the detector serves by.

From the historian's Parquet files, or from CSV files, each of which is the recording of one asset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.models import Trained
from twinloop.contracts.times import utc
from twinloop.features.windows import WindowSpec
from twinloop.trainer.errors import BadRecording
from twinloop.trainer.training.csv_files import Table, frames, read_csv
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
    """Of assets with the same signals. `source` says where they were read. `columns`: all signals of a frame,
    in their order, where the windows have only some of them, or others first."""

    source: str
    signal_set: str
    spec: WindowSpec
    recordings: tuple[Recording, ...]
    columns: tuple[str, ...] = ()

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
    *,
    columns: tuple[str, ...] = (),
) -> Recordings:
    """See `frames_of_assets`; frames have `columns`, or the signals of `spec`. Raises `BadRecording`."""
    those_of = frames_of_assets(folder, signal_set, assets, since, until)
    for asset, those in those_of.items():
        _check_width(asset, {frame.samples.shape[1] for _, frame in those}, columns or spec.signals)
    found = tuple(
        Recording(
            asset,
            cut(those, spec, columns),
            utc(min(frame.first_at_ns for _, frame in those)),
            utc(max(frame.first_at_ns + (len(frame.samples) - 1) * frame.period_ns for _, frame in those)),
        )
        for asset, those in those_of.items()
    )
    return Recordings(f"{folder.name} in Parquet", signal_set, spec, found, columns)


def _check_width(asset: str, widths: set[int], columns: tuple[str, ...]) -> None:
    if len(columns) not in widths:
        raise BadRecording(
            f"frames of {asset} have {min(widths)} signals, not {len(columns)}: name all of them, in their"
            " order, with --columns"
        )


def from_csv(paths: Sequence[Path], signal_set: str, spec: WindowSpec, rows: int | None = None) -> Recordings:
    """The first `rows` rows of each file, or all: see `csv_files`. Raises `BadRecording`."""
    if not paths:
        raise BadRecording("no CSV file is named")
    found = tuple(_of_file(path, spec, rows) for path in paths)
    return Recordings(", ".join(path.name for path in paths), signal_set, spec, found)


def _of_file(path: Path, spec: WindowSpec, rows: int | None) -> Recording:
    table = read_csv(path, spec.signals, rows)
    since, until = _range(table.times_ns)
    return Recording(path.stem, cut(frames(table, spec.hop), spec), since, until)


def _range(times_ns: NDArray[np.int64] | None) -> tuple[datetime | None, datetime | None]:
    if times_ns is None or not len(times_ns):
        return None, None
    return utc(int(times_ns.min())), utc(int(times_ns.max()))


def of_rows(rows: Floats, spec: WindowSpec) -> Floats:
    """The windows of consecutive rows [N, signals]."""
    return cut(frames(Table(rows), spec.hop), spec)
