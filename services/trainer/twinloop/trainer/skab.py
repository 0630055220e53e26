"""Recordings in the format of the Skoltech Anomaly Benchmark: one water circuit, faults made by hand.

Labels are read for the scoreboard alone: what is fitted sees the signals of the first `TRAIN_ROWS` rows.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.frames import Frame
from twinloop.features.windows import WindowBuffer
from twinloop.trainer.errors import BadRecording
from twinloop.trainer.fit import Model, answer, fit_pca
from twinloop.trainer.recipes import SKAB

TRAIN_ROWS = 400
"""The benchmark's protocol: the first rows of a file are healthy and for training, the others for scoring."""
LABEL = "anomaly"
ASSET_PREFIX = "skab"


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """A file: `values` float32 [rows, signals]; `anomalous` bool [rows], the label."""

    name: str
    asset: str
    values: NDArray[np.float32]
    anomalous: NDArray[np.bool_]


def read_folder(folder: Path) -> list[Recorded]:
    """Every CSV file, `2.csv` before `10.csv`. Raises `BadRecording`, also when there is none."""
    files = sorted(folder.glob("*.csv"), key=lambda path: (len(path.stem), path.stem))
    if not files:
        raise BadRecording(f"{folder} holds no CSV file: name the folder with SKAB's files, such as …/valve1")
    return [read(path) for path in files]


def read(path: Path) -> Recorded:
    """A file; its row numbers are those of the replay. Raises `BadRecording`, with file and line."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.reader(file, delimiter=";")
        header = next(lines, [])
        if missing := [name for name in (*SKAB.spec.signals, LABEL) if header.count(name) != 1]:
            raise BadRecording(f"{path}: the header must have the column {missing[0]!r} once")
        places = [header.index(name) for name in (*SKAB.spec.signals, LABEL)]
        rows = []
        for line in lines:
            if not line:
                continue
            try:
                rows.append([float(line[place]) for place in places])
            except (ValueError, IndexError):
                raise BadRecording(f"{path}, line {lines.line_num}: not a number for every signal") from None
    table = np.array(rows).reshape(-1, len(places))
    if len(table) <= TRAIN_ROWS or not np.isfinite(table).all():
        raise BadRecording(f"{path}: needs more than {TRAIN_ROWS} rows of finite numbers")
    values = table[:, :-1].astype(np.float32)
    return Recorded(path.stem, asset_of(path), values, table[:, -1] > 0)


def asset_of(path: Path) -> str:
    """The asset that a replay sends the file as: `skab.<folder>.<file>`."""
    names = (path.resolve().parent.name, path.stem)
    return ".".join([ASSET_PREFIX, *(re.sub(r"[^A-Za-z0-9_-]", "_", name) for name in names)])


def windows(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The windows of consecutive rows, as the detector cuts them: window k ends at row k + window - 1."""
    whole = Frame(
        asset=ASSET_PREFIX,
        signal_set=SKAB.signal_set,
        sequence=0,
        first_at_ns=0,
        period_ns=0,
        samples=values,
        observed_at_ns=0,
        event_id="",
        trace_id="",
    )
    return WindowBuffer(SKAB.spec).push([whole]).values


def fit(values: NDArray[np.float32]) -> Model:
    """Scaler, components and threshold from the first `TRAIN_ROWS` rows of `values` alone."""
    return fit_pca(windows(values[:TRAIN_ROWS]), SKAB.statistics)


def verdicts(model: Model, values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """A verdict for each row: that of the window which ends there, normal before the first window."""
    flags = np.zeros(len(values), np.bool_)
    flags[SKAB.spec.window - 1 :] = answer(model, windows(values)).score > model.threshold
    return flags
