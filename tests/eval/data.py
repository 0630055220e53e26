"""Recorded data that the project does not carry: a folder named by TWINLOOP_DATA, or other ones like it.

    <data>/skab/valve1/*.csv, <data>/skab/anomaly-free/*.csv     the Skoltech Anomaly Benchmark
    <data>/smap/train/*.npz, test/*.npz, labeled_anomalies.csv    NASA's telemetry, SMAP or MSL

Labels are read to count what was found, and for nothing else.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinloop.trainer.errors import BadRecording
from twinloop.trainer.recipes import SKAB
from twinloop.trainer.skab import read_folder
from twinloop.trainer.training.csv_files import read_csv

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

DATA = "TWINLOOP_DATA"


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Rows of one recording, float32 [rows, signals], and their labels, bool [rows]."""

    name: str
    rows: Floats
    anomalous: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """Telemetry of one channel, float32 [rows, 1]: `train` is healthy; `events` are the first and last row of
    each labelled sequence of `test`."""

    name: str
    train: Floats
    test: Floats
    events: tuple[tuple[int, int], ...]


def root(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder that the environment names. Raises `BadRecording` with what to do where it names none."""
    named = environ.get(DATA, "")
    if not named or not Path(named).is_dir():
        raise BadRecording(
            f"{DATA} names no folder: set it to one with skab/valve1 and smap in it, as"
            f" tests/eval/README.md describes them ({DATA} is {named!r})"
        )
    return Path(named)


def skab(folder: Path) -> list[Labelled]:
    """The CSV files of a folder of the benchmark. Raises `BadRecording`."""
    return [Labelled(one.name, one.values, one.anomalous) for one in read_folder(folder)]


def healthy(folder: Path) -> list[Labelled]:
    """The same of recordings without a fault, which have no labels. Raises `BadRecording`."""
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise BadRecording(f"{folder} holds no CSV file")
    read = [(path.stem, read_csv(path, SKAB.spec.signals).values) for path in files]
    return [Labelled(name, rows, np.zeros(len(rows), np.bool_)) for name, rows in read]


def channels(folder: Path) -> list[Channel]:
    """All channels of SMAP or MSL, by name. Raises `BadRecording`."""
    labels = folder / "labeled_anomalies.csv"
    events: dict[str, list[tuple[int, int]]] = {}
    try:
        with labels.open(newline="") as file:
            for line in csv.DictReader(file):
                if (folder / "train" / f"{line['chan_id']}.npz").exists():
                    found = [(int(first), int(last)) for first, last in json.loads(line["anomaly_sequences"])]
                    events.setdefault(line["chan_id"], []).extend(found)
        return [
            Channel(
                name,
                _values(folder / "train" / f"{name}.npz"),
                _values(folder / "test" / f"{name}.npz"),
                tuple(sorted(those)),
            )
            for name, those in sorted(events.items())
        ]
    except (OSError, KeyError, ValueError) as error:
        raise BadRecording(f"{folder}: {error}") from error


def _values(path: Path) -> Floats:
    """The first column: the others are commands."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["values"][:, :1].astype(np.float32)
