"""What follows from what a trial has shown so far. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from twinloop.modelops.evidence import against_at_least, against_at_most, enough
from twinloop.modelops.pairs import BLOCK, Comparison
from twinloop.modelops.plan import named
from twinloop.tritonio.server import Usage


@dataclass(frozen=True, slots=True)
class Limits:
    """What a version on trial may cost beside its alarms (`Trial.more_alarms`), and how sure one must be.

    `disagreement`: the share of windows on which both may differ. `missed`: the share of the serving one's
    alarms that it may not raise. `failures`: the share of its requests that may fail beyond those of the one
    that serves, and of windows that it may have no answer to. `slower`: how many times as long it may take
    for a window. `false_stop`, `false_pass`: chances to stop one that is within its alarms, and to pass one
    that is not, over an endless trial. `block`: so many windows of an asset, at least, are one piece of
    evidence.
    """

    disagreement: float = 0.05
    missed: float = 0.5
    failures: float = 0.01
    slower: float = 4.0
    false_stop: float = 0.05
    false_pass: float = 0.05
    block: int = BLOCK


MIN_FAILURES = 3
MIN_REQUESTS = 20


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
    allowed, name, alarms = comparison.route.trial.more_alarms, named(comparison.trial), _alarms(comparison)
    if sick is not None:
        return Outcome(Finding.STOP, f"{name} does not answer: {sick}")
    if (why := _fails(comparison, serving, trial, limits)) is not None:
        return Outcome(Finding.STOP, f"{name} {why}")
    more = comparison.more
    if enough(against_at_most(allowed, more.means(ended=True), low=-1.0), limits.false_stop):
        return Outcome(Finding.STOP, f"{name} has {alarms}: more than {allowed:.2%} of all are too many")
    if not enough(against_at_least(allowed, more.means(ended=False), high=1.0), limits.false_pass):
        return Outcome(
            Finding.GOES_ON,
            f"{name} has {alarms}: not enough to tell yet, in blocks of {more.length(ended=False)}",
        )
    if (why := _withheld(comparison, serving, trial, limits)) is not None:
        return Outcome(Finding.GOES_ON, f"{name} has {alarms}; {why}")
    return Outcome(Finding.MAY_PASS, f"{name} has {alarms}: it is within its {allowed:.2%}")


def _alarms(comparison: Comparison) -> str:
    tally = comparison.tally
    quiet = f" (and was quiet at first on {tally.quiet} more)" if tally.quiet else ""
    return (
        f"{tally.both + tally.only_trial} alarms in {tally.pairs} windows{quiet}, where the one that serves"
        f" has {tally.both + tally.only_serving}"
    )


def _fails(comparison: Comparison, serving: Usage, trial: Usage, limits: Limits) -> str | None:
    """Whether it does not answer: to Triton, or to windows that the one that serves has judged."""
    tally = comparison.tally
    if trial.failures >= MIN_FAILURES:
        beyond = trial.failures / trial.requests - serving.failures / max(1, serving.requests)
        if beyond > limits.failures:
            return f"failed {trial.failures} of {trial.requests} requests"
    asked = tally.unanswered + tally.pairs + tally.quiet
    if tally.unanswered >= MIN_FAILURES and tally.unanswered > limits.failures * asked:
        return f"has no answer to {tally.unanswered} of {asked} windows that the one that serves has judged"
    return None


def _withheld(comparison: Comparison, serving: Usage, trial: Usage, limits: Limits) -> str | None:
    """Why one with few enough alarms is not passed all the same; a person may still promote it."""
    return (
        _quiet(comparison)
        or (_disagrees(comparison, limits) if comparison.alike else _misses(comparison, limits))
        or _slow(serving, trial, limits)
    )


def _quiet(comparison: Comparison) -> str | None:
    if not comparison.cold:
        return None
    return f"it is still quiet at {comparison.cold} of {comparison.cold + comparison.warm} assets"


def _disagrees(comparison: Comparison, limits: Limits) -> str | None:
    tally = comparison.tally
    alarms = tally.both + tally.only_serving
    if alarms and tally.only_serving > limits.missed * alarms:
        return f"it misses {tally.only_serving} of the {alarms} alarms of the one that serves"
    apart = comparison.apart.means(ended=False)
    if not enough(against_at_least(limits.disagreement, apart, high=1.0), limits.false_pass):
        differ = tally.only_serving + tally.only_trial
        return f"both differ on {differ} windows, which may be {limits.disagreement:.0%} at most"
    return None


def _misses(comparison: Comparison, limits: Limits) -> str | None:
    """Where windows do not end alike, all that can be compared is how many alarms there are."""
    tally = comparison.tally
    alarms = tally.both + tally.only_serving
    if alarms and tally.both + tally.only_trial < (1 - limits.missed) * alarms:
        return "it raises less than half of the alarms of the one that serves"
    return None


def _slow(serving: Usage, trial: Usage, limits: Limits) -> str | None:
    if min(serving.requests, trial.requests) < MIN_REQUESTS:
        return "it was not asked often enough to tell how long it takes"
    ours, theirs = _per_window_s(serving), _per_window_s(trial)
    if ours is not None and theirs is not None and theirs > limits.slower * ours:
        return f"it takes {theirs / ours:.1f} times as long, which may be {limits.slower:g} times"
    return None


def _per_window_s(usage: Usage) -> float | None:
    return usage.busy_s / usage.windows if usage.windows else None
