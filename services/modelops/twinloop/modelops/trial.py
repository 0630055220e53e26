"""What a trial has shown so far: which verdicts belong together, and what follows from them. Pure.

A pair is the verdict of the version that serves and that of the one on trial on the same window. Where
windows do not end alike, the n-th of one is set beside the n-th of the other at the same asset: then shares
of alarms can be compared, and agreement cannot.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import StrEnum

from twinloop.contracts.events import Verdict
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.modelops.evidence import against_at_least, against_at_most, enough
from twinloop.modelops.plan import named
from twinloop.tritonio.server import Usage

WAITING = 20_000
"""Verdicts of a trial whose other half has not come yet; the oldest are given up."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a version on trial may cost beside its alarms (`Trial.more_alarms`), and how sure one must be.

    `disagreement`: the share of windows on which both may differ. `missed`: the share of the serving one's
    alarms that it may not raise. `failures`: the share of its requests that may fail beyond those of the one
    that serves. `slower`: how many times as long it may take for a window. `false_stop`, `false_pass`:
    chances to stop one that is within its alarms, and to pass one that is not, over an endless trial.
    """

    disagreement: float = 0.05
    missed: float = 0.5
    failures: float = 0.01
    slower: float = 4.0
    false_stop: float = 0.05
    false_pass: float = 0.05


MIN_FAILURES = 3
MIN_REQUESTS = 20


@dataclass(slots=True)
class Tally:
    """Pairs, by which of both raised an alarm; and verdicts whose other half never came."""

    both: int = 0
    only_serving: int = 0
    only_trial: int = 0
    neither: int = 0
    alone: int = 0

    @property
    def pairs(self) -> int:
        """All of them."""
        return self.both + self.only_serving + self.only_trial + self.neither

    def add(self, *, serving: bool, trial: bool) -> None:
        """One more pair."""
        if serving and trial:
            self.both += 1
        elif serving:
            self.only_serving += 1
        elif trial:
            self.only_trial += 1
        else:
            self.neither += 1


@dataclass(slots=True)
class Comparison:
    """The verdicts of one trial. `alike`: whether windows of both end at the same samples."""

    route: ModelRoute
    tally: Tally = field(default_factory=Tally)
    _waiting: OrderedDict[tuple[str, int, int], tuple[bool, bool]] = field(default_factory=OrderedDict)
    _queues: dict[str, deque[tuple[bool, bool]]] = field(default_factory=dict)
    _queued: int = 0

    @property
    def trial(self) -> ModelContract:
        """The version on trial."""
        assert self.route.trial is not None
        return self.route.trial.contract

    @property
    def alike(self) -> bool:
        """See above."""
        return ends_alike(self.route.contract, self.trial)

    def take(self, verdict: Verdict) -> None:
        """A verdict on a window of the scope; of another version, or from before the trial, it is none of
        ours."""
        spoke = verdict.model, verdict.model_version
        of_trial = spoke == (self.trial.model, self.trial.version)
        if not of_trial and spoke != (self.route.contract.model, self.route.contract.version):
            return
        begun = self.route.trial.begun if self.route.trial is not None else None
        if begun is not None and verdict.at < begun:
            return
        if self.alike:
            self._pair((verdict.asset, verdict.sequence, verdict.row), of_trial, verdict.anomalous)
        else:
            self._queue(verdict.asset, of_trial, verdict.anomalous)

    def _pair(self, place: tuple[str, int, int], of_trial: bool, anomalous: bool) -> None:
        other = self._waiting.get(place)
        if other is not None and other[0] != of_trial:
            del self._waiting[place]
            self._add(of_trial, anomalous, other[1])
            return
        self._waiting[place] = of_trial, anomalous
        if len(self._waiting) > WAITING:
            self._waiting.popitem(last=False)
            self.tally.alone += 1

    def _queue(self, asset: str, of_trial: bool, anomalous: bool) -> None:
        queue = self._queues.setdefault(asset, deque())
        if queue and queue[0][0] != of_trial:
            self._queued -= 1
            self._add(of_trial, anomalous, queue.popleft()[1])
            return
        queue.append((of_trial, anomalous))
        self._queued += 1
        if self._queued > WAITING:
            longest = max(self._queues.values(), key=len)
            longest.popleft()
            self._queued -= 1
            self.tally.alone += 1

    def _add(self, of_trial: bool, anomalous: bool, other: bool) -> None:
        if of_trial:
            self.tally.add(serving=other, trial=anomalous)
        else:
            self.tally.add(serving=anomalous, trial=other)


def ends_alike(one: ModelContract, other: ModelContract) -> bool:
    """Whether windows of both end at the same samples of a run, once both have enough of them."""
    return one.hop == other.hop and (one.window - other.window) % one.hop == 0


class Finding(StrEnum):
    """What follows from a trial so far."""

    GOES_ON = "goes_on"
    STOP = "stop"
    MAY_PASS = "may_pass"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finding, and a sentence that says why."""

    finding: Finding
    why: str


def judge(
    comparison: Comparison, serving: Usage, trial: Usage, limits: Limits, sick: str | None = None
) -> Outcome:
    """What follows from the verdicts, and from what Triton counted of both since the trial began. `sick`: why
    the version on trial cannot answer at all, if that is so."""
    assert comparison.route.trial is not None
    more, tally = comparison.route.trial.more_alarms, comparison.tally
    name, pairs = named(comparison.trial), comparison.tally.pairs
    if sick is not None:
        return Outcome(Finding.STOP, f"{name} does not answer: {sick}")
    if (why := _fails(serving, trial, limits)) is not None:
        return Outcome(Finding.STOP, f"{name} {why}")
    differs = {1.0: tally.only_trial, 0.0: tally.both + tally.neither, -1.0: tally.only_serving}
    alarms = (
        f"{tally.both + tally.only_trial} alarms in {pairs} windows, where the one that serves has "
        f"{tally.both + tally.only_serving}"
    )
    if enough(against_at_most(more, differs, low=-1.0), limits.false_stop):
        return Outcome(Finding.STOP, f"{name} has {alarms}: more than {more:.2%} of all are too many")
    if not enough(against_at_least(more, differs, high=1.0), limits.false_pass):
        return Outcome(Finding.GOES_ON, f"{name} has {alarms}: not enough to tell yet")
    if (why := _withheld(comparison, serving, trial, limits)) is not None:
        return Outcome(Finding.GOES_ON, f"{name} has {alarms}; {why}")
    return Outcome(Finding.MAY_PASS, f"{name} has {alarms}: it is within its {more:.2%}")


def _fails(serving: Usage, trial: Usage, limits: Limits) -> str | None:
    if trial.failures < MIN_FAILURES:
        return None
    beyond = trial.failures / trial.requests - serving.failures / max(1, serving.requests)
    if beyond <= limits.failures:
        return None
    return f"failed {trial.failures} of {trial.requests} requests"


def _withheld(comparison: Comparison, serving: Usage, trial: Usage, limits: Limits) -> str | None:
    """Why one with few enough alarms is not passed all the same; a person may still promote it."""
    tally = comparison.tally
    alarms = tally.both + tally.only_serving
    if comparison.alike:
        if alarms and tally.only_serving > limits.missed * alarms:
            return f"it misses {tally.only_serving} of the {alarms} alarms of the one that serves"
        apart = tally.only_serving + tally.only_trial
        disagrees = {1.0: apart, 0.0: tally.pairs - apart}
        if not enough(against_at_least(limits.disagreement, disagrees, high=1.0), limits.false_pass):
            return f"both differ on {apart} windows, which may be {limits.disagreement:.0%} at most"
    elif alarms and tally.both + tally.only_trial < (1 - limits.missed) * alarms:
        return "it raises less than half of the alarms of the one that serves"
    if min(serving.requests, trial.requests) < MIN_REQUESTS:
        return "it was not asked often enough to tell how long it takes"
    ours, theirs = _per_window_s(serving), _per_window_s(trial)
    if ours is not None and theirs is not None and theirs > limits.slower * ours:
        return f"it takes {theirs / ours:.1f} times as long, which may be {limits.slower:g} times"
    return None


def _per_window_s(usage: Usage) -> float | None:
    return usage.busy_s / usage.windows if usage.windows else None
