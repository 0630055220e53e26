"""Scores verdicts on rows by the benchmark's published protocol, without point adjustment. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]

ROWS_AN_HOUR: Final = 3600
"""The circuit is recorded at about 1 Hz."""
CONTROL_ROWS: Final = slice(170, 581)
"""Rows of a test part in which faults mostly lie, the last one included: position alone scores high."""

PUBLISHED: Final[tuple[tuple[str, float, float | None, float | None], ...]] = (
    ("Conv-AE (looks ahead)", 0.78, 0.1355, 0.2802),
    ("MSET", 0.78, 0.3973, 0.1413),
    ("T²+Q", 0.76, 0.2662, 0.2492),
    ("LSTM-AE", 0.74, None, None),
    ("isolation forest", 0.29, None, None),
)
"""F1, FAR and MAR, where they are published, from the benchmark's leaderboard, over all 34 of its files."""


@dataclass(frozen=True, slots=True)
class Score:
    """Verdicts on the test parts of one or more files, counted.

    A labelled run of rows is an event, detected when a row of it is alarmed; `delays_rows` holds, for each
    detected one, the rows from its first to its first alarmed: 0 also where an alarm was on before.
    `episodes` counts false alarms: runs of alarmed rows that touch no labelled one.
    """

    true_positives: int = 0
    true_negatives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    events: int = 0
    delays_rows: tuple[int, ...] = ()
    episodes: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.true_positives + other.true_positives,
            self.true_negatives + other.true_negatives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.events + other.events,
            self.delays_rows + other.delays_rows,
            self.episodes + other.episodes,
        )

    @property
    def f1(self) -> float:
        """2TP / (2TP + FP + FN); 0 where nothing was alarmed or labelled."""
        return _ratio(
            2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives
        )

    @property
    def false_alarm_rate(self) -> float:
        """FAR: the share of normal rows that are alarmed."""
        return _ratio(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def missed_alarm_rate(self) -> float:
        """MAR: the share of anomalous rows that are not alarmed."""
        return _ratio(self.false_negatives, self.false_negatives + self.true_positives)

    @property
    def detected(self) -> int:
        """How many events were detected."""
        return len(self.delays_rows)

    @property
    def median_delay_rows(self) -> float | None:
        """Of the events that were detected."""
        return statistics.median(self.delays_rows) if self.delays_rows else None

    @property
    def episodes_an_hour(self) -> float:
        """False alarms an hour of normal rows."""
        return _ratio(self.episodes * ROWS_AN_HOUR, self.false_positives + self.true_negatives)


def score(labels: Flags, alarms: Flags) -> Score:
    """Count the rows of one test part; both bool [rows]."""
    if labels.shape != alarms.shape:
        raise ValueError(f"{len(alarms)} verdicts on {len(labels)} rows")
    events = runs(labels)
    first_alarms = [np.flatnonzero(alarms[first:end]) for first, end in events]
    return Score(
        true_positives=int((labels & alarms).sum()),
        true_negatives=int((~labels & ~alarms).sum()),
        false_positives=int((~labels & alarms).sum()),
        false_negatives=int((labels & ~alarms).sum()),
        events=len(events),
        delays_rows=tuple(int(found[0]) for found in first_alarms if len(found)),
        episodes=sum(not labels[first:end].any() for first, end in runs(alarms)),
    )


def total(scores: Iterable[Score]) -> Score:
    """Counts summed over files, as the protocol wants: not a mean of their F1."""
    return sum(scores, Score())


def everything(labels: Flags) -> Flags:
    """Control: every row is anomalous."""
    return np.ones_like(labels)


def position(labels: Flags) -> Flags:
    """Control: rows 170 to 580 of a test part are anomalous, whatever was measured."""
    alarms = np.zeros_like(labels)
    alarms[CONTROL_ROWS] = True
    return alarms


def runs(flags: Flags) -> list[tuple[int, int]]:
    """First index, and the one after the last, of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
