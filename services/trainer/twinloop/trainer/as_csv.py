"""Recordings as CSV files: a file for each asset, a row for each sample.

    time,part_id,<signal>,<signal>,...

The numbers are the recorded ones, so what is learnt from the file is what is learnt from Parquet. A gap in a
recording without parts shows only in the times: `training/csv_files.py` finds it there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from twinloop.contracts.frames import Frame
from twinloop.trainer.errors import BadRecording

NO_SIGNALS = ("time", "part_id")
"""The columns that are none."""

_OPTIONS = csv.WriteOptions(quoting_header="none")


@dataclass(frozen=True, slots=True)
class Written:
    """A file, and what is in it."""

    path: Path
    frames: int
    rows: int


def write(folder: Path, asset: str, signals: tuple[str, ...], frames: Sequence[Frame]) -> Written:
    """The `frames` of `asset` as `<folder>/<asset>.csv`, whole or not at all, in place of one that is there.

    Frames with a value that its source calls bad are left out: no window is made of them either. Raises
    `BadRecording` where no frame is left.
    """
    sound = [one for one in frames if one.bad is None or not one.bad.any()]
    if not sound:
        raise BadRecording(
            f"no frame of {asset} is sound and has the {len(signals)} signals {', '.join(signals)}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (re.sub(r"[^A-Za-z0-9._-]", "_", asset).lstrip(".") + ".csv")
    aside = path.with_suffix(".incoming")
    table = _table(signals, sound)
    csv.write_csv(table, aside, _OPTIONS)
    aside.replace(path)
    return Written(path, len(sound), table.num_rows)


def _table(signals: tuple[str, ...], frames: Sequence[Frame]) -> pa.Table:
    samples = np.concatenate([one.samples for one in frames])
    times_ns = np.concatenate([_times_ns(one) for one in frames])
    parts = np.repeat(np.array([one.part_id for one in frames]), [len(one.samples) for one in frames])
    others = (pa.array(times_ns // 1000, pa.timestamp("us", tz="UTC")), pa.array(parts))
    columns = dict(zip(NO_SIGNALS, others, strict=True))
    return pa.table(columns | {name: pa.array(samples[:, n]) for n, name in enumerate(signals)})


def _times_ns(frame: Frame) -> NDArray[np.int64]:
    """Of each sample."""
    after = frame.offsets_ns
    if after is None:
        after = np.arange(len(frame.samples), dtype=np.uint64) * np.uint64(frame.period_ns)
    return (np.uint64(frame.first_at_ns) + after).astype(np.int64)
