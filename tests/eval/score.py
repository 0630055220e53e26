"""What is counted, by the protocols of the two benchmarks, without point adjustment. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from twinloop.trainer.scoreboard import Score, runs, score, total

Flags = NDArray[np.bool_]
T = TypeVar("T")

RESAMPLED: Final = 2000
MERGED: Final = 50
"""Runs of alarms at most so many rows apart are one."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Part:
    """The test part of one file. `early`: events in which an alarm from before their first row was on.
    `delays`: of each event, infinite when it was missed."""

    score: Score
    early: int
    delays: tuple[float, ...]


def part(labels: Flags, alarms: Flags) -> Part:
    """Count the rows of one test part."""
    events = runs(labels)
    first = [np.flatnonzero(alarms[begin:end]) for begin, end in events]
    return Part(
        score(labels, alarms),
        early=sum(begin > 0 and bool(alarms[begin - 1]) and bool(alarms[begin]) for begin, _ in events),
        delays=tuple(float(found[0]) if len(found) else np.inf for found in first),
    )


def rows(parts: Sequence[Part]) -> dict[str, float]:
    """Sums over files, as the protocol wants: F1, FAR and MAR as shares; the median delay in rows."""
    whole = total(one.score for one in parts)
    delays = [delay for one in parts for delay in one.delays]
    return {
        "f1": whole.f1,
        "far": whole.false_alarm_rate,
        "mar": whole.missed_alarm_rate,
        "events": float(whole.events),
        "found": float(sum(np.isfinite(delays))),
        "early": float(sum(one.early for one in parts)),
        "delay": float(np.median(delays)) if delays else float("nan"),
        "false_an_hour": whole.episodes_an_hour,
    }


@dataclass(frozen=True, slots=True)
class Events:
    """One channel. `found`: of each labelled sequence, whether a run of alarms overlaps it; `delays` in rows
    of those that are; `false_runs`: first and last row of runs that touch no label."""

    found: tuple[bool, ...]
    delays: tuple[int, ...]
    false_runs: tuple[tuple[int, int], ...]
    false_rows: int
    normal_rows: int


def events(labelled: Sequence[tuple[int, int]], alarms: Flags) -> Events:
    """Count the alarms on one channel's test rows; `labelled`: first and last row of each sequence."""
    merged: list[tuple[int, int]] = []
    for begin, end in runs(alarms):
        if merged and begin - merged[-1][1] <= MERGED:
            merged[-1] = (merged[-1][0], end - 1)
        else:
            merged.append((begin, end - 1))
    inside = np.zeros(len(alarms), np.bool_)
    for first, last in labelled:
        inside[first : last + 1] = True
    hits = [
        [max(begin, first) for begin, end in merged if begin <= last and end >= first]
        for first, last in labelled
    ]
    return Events(
        found=tuple(bool(one) for one in hits),
        delays=tuple(min(one) - first for one, (first, _) in zip(hits, labelled, strict=True) if one),
        false_runs=tuple((begin, end) for begin, end in merged if not inside[begin : end + 1].any()),
        false_rows=int((alarms & ~inside).sum()),
        normal_rows=int((~inside).sum()),
    )


def sequences(channels: Sequence[Events]) -> dict[str, float]:
    """Sums over channels: precision, recall, F1, and the share of normal rows that are alarmed."""
    found = sum(sum(one.found) for one in channels)
    labelled = sum(len(one.found) for one in channels)
    false = sum(len(one.false_runs) for one in channels)
    precision = found / (found + false) if found + false else 0.0
    recall = found / labelled if labelled else 0.0
    delays = [delay for one in channels for delay in one.delays]
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if found else 0.0,
        "far": sum(one.false_rows for one in channels) / sum(one.normal_rows for one in channels),
        "events": float(labelled),
        "found": float(found),
        "false_runs": float(false),
        "delay": float(np.median(delays)) if delays else float("nan"),
    }


def figures(those: Sequence[T], count: Callable[[Sequence[T]], Mapping[str, float]]) -> dict[str, Figure]:
    """Each of `count`'s values over `those`, files or channels, and its interval by resampling them."""
    generator = np.random.default_rng(0)
    drawn = [
        count([those[n] for n in generator.integers(0, len(those), len(those))]) for _ in range(RESAMPLED)
    ]
    return {
        name: Figure(value, *(float(one) for one in _interval([other[name] for other in drawn])))
        for name, value in count(those).items()
    }


def _interval(values: Sequence[float]) -> NDArray[np.float64]:
    """Of values, some of which may be infinite or none."""
    known = np.array([value for value in values if not np.isnan(value)])
    if not len(known):
        return np.array([np.nan, np.nan])
    return np.quantile(known, [0.025, 0.975], method="nearest")
