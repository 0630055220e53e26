"""What is counted of a run, and what that adds up to over the seeds. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench_loop.cases import Case
from bench_loop.cell import Cell, Write
from bench_loop.rules import LIMIT_UOHM

QUIET_PARTS = 20
"""A run has recovered when none of its last so many parts was bad."""


@dataclass(frozen=True, slots=True)
class Run:
    """One case by one strategy from one seed. `resistance` is the true one of the parts that were made, from
    the first; parts after a hold are not made. `detected`: see `Strategy.detected`."""

    case: Case
    resistance: tuple[float, ...]
    writes: tuple[Write, ...]
    detected: int | None = None

    @classmethod
    def of(cls, cell: Cell, detected: int | None) -> Run:
        """What came of `cell`."""
        return cls(cell.case, tuple(cell.resistance), tuple(cell.writes), detected)

    @property
    def bad(self) -> frozenset[int]:
        """The numbers of the parts that are scrap."""
        return frozenset(n for n, one in enumerate(self.resistance) if one > LIMIT_UOHM)

    @property
    def wrong(self) -> tuple[Write, ...]:
        """Commands that do not mend the fault, and all before there is one."""
        right, start = self.case.right, self.case.start
        return tuple(one for one in self.writes if one.actuator not in right or one.number < start)


@dataclass
class Tally:
    """The sums over the seeds of one case by one strategy. See `DEFINITIONS`."""

    seeds: int = 0
    bad: int = 0
    avoidable: int = 0
    avoided: int = 0
    added: int = 0
    actions: int = 0
    wrong: int = 0
    unsafe: Counter[str] = field(default_factory=Counter)
    good_not_made: int = 0
    detected: list[int] = field(default_factory=list)
    recovered: list[int] = field(default_factory=list)

    def add(self, run: Run, left_open: Run, ideal: Run) -> None:
        """Count `run` beside the two that it is measured by, of the same case and seed."""
        could = left_open.bad - ideal.bad
        self.seeds += 1
        self.bad += len(run.bad)
        self.avoidable += len(could)
        self.avoided += len(could - run.bad)
        self.added += len(run.bad - left_open.bad)
        self.actions += len(run.writes)
        self.wrong += len(run.wrong)
        self.unsafe.update(one.unsafe for one in run.writes if one.unsafe is not None)
        self.good_not_made += sum(n not in left_open.bad for n in range(len(run.resistance), run.case.parts))
        if run.detected is not None:
            self.detected.append(run.detected)
        if (parts := recovered(run)) is not None:
            self.recovered.append(parts)

    def __iadd__(self, other: Tally) -> Tally:
        """Take the sums of other seeds, or of another case, too."""
        for name in ("seeds", "bad", "avoidable", "avoided", "added", "actions", "wrong", "good_not_made"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unsafe.update(other.unsafe)
        self.detected += other.detected
        self.recovered += other.recovered
        return self

    @property
    def share_avoided(self) -> float | None:
        """Of the avoidable bad parts; parts that were made bad count against it."""
        return None if not self.avoidable else (self.avoided - self.added) / self.avoidable


def recovered(run: Run) -> int | None:
    """Parts from the fault's start to the last bad one, with it; `None` when it was bad to the end.

    A station that was stopped has recovered: it makes no bad parts.
    """
    last = max((n for n in run.bad if n >= run.case.start), default=run.case.start - 1)
    stopped = len(run.resistance) < run.case.parts
    if not stopped and last >= run.case.parts - QUIET_PARTS:
        return None
    return last - run.case.start + 1


def middle(parts: Sequence[int]) -> float | None:
    """The median, if there is one."""
    return statistics.median(parts) if parts else None


def total(tallies: Iterable[Tally]) -> Tally:
    """The sums over cases."""
    whole = Tally()
    for one in tallies:
        whole += one
    return whole


DEFINITIONS = {
    "bad": f"Parts whose true resistance is above {LIMIT_UOHM:g} µΩ (not the measured one, which has noise).",
    "avoidable": "Parts that are bad with the loop open and not bad with the oracle, from the same noise.",
    "avoided": "Of the avoidable ones, the share that is not bad; a part made bad that the open loop makes "
    "well is taken off, so the share can be negative. Parts that are not made are not bad.",
    "wrong": "Commands by an actuator that does not mend the case's fault, also before it begins. In health, "
    "and where only a sensor is wrong, every command is one. A hold is right for a gap, for a power error "
    "that makes scrap, and where the PLC does not do what it says.",
    "detect": "Median parts from the first faulty one until the strategy first says that something is wrong: "
    "Twinloop when an anomaly reaches its controller, the threshold controller when it would act. In "
    "brackets in how many runs, where that is not all; in health that is false anomalies.",
    "recover": "Median parts from the first faulty one to the last bad one, of the runs in which none of "
    f"the last {QUIET_PARTS} parts was bad; in brackets how many those are, where they are not all. A "
    "station on hold has recovered.",
    "unsafe": "Commands that reached the PLC, whatever it answered, outside the hard limits of line.toml, by "
    "more than a step, or while the station was held or ran another recipe than its own.",
    "good not made": "Parts that a hold kept from being made and that the open loop makes well.",
}
