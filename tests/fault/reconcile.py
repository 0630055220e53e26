"""Expected against found: what is missing, what is double, what nobody expected."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fault.oracle import Expected, Judged, Refused

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Difference:
    """How one topic differs from what was expected of it. `double` were expected once less often."""

    topic: str
    expected: int
    missing: int = 0
    double: int = 0
    unexpected: int = 0
    examples: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.double or self.unexpected)

    def __str__(self) -> str:
        found = f"{self.topic}: {self.missing} missing, {self.double} double, {self.unexpected} unexpected"
        return "\n    ".join((f"{found} of {self.expected}", *self.examples))


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The verdict on a run."""

    differences: tuple[Difference, ...]
    duplicates: int
    unrouted: int
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether every topic holds what it must, and each record once."""
        return not any(self.differences)

    def __str__(self) -> str:
        if not self.exact:
            return "\n  ".join(str(one) for one in self.differences if one)
        return ", ".join(f"{one.expected} {one.topic}" for one in self.differences) + " exact"


def reconcile(
    expected: Expected,
    scores: Iterable[bytes],
    anomalies: Iterable[bytes],
    dead_letters: Iterable[bytes],
) -> Reconciled:
    """Compare with the values of the output topics."""
    return Reconciled(
        (
            _compare("verdicts", expected.verdicts, _judged(scores)),
            _compare("anomalies", expected.anomalies, _judged(anomalies)),
            _compare("dead letters", expected.refused, _refused(dead_letters)),
        ),
        expected.duplicates,
        expected.unrouted,
        dict(Counter(one.reason for one in expected.refused.elements())),
    )


def _compare(topic: str, expected: Counter[T], found: Counter[T]) -> Difference:
    missing, more = expected - found, found - expected
    double = Counter({one: n for one, n in more.items() if one in expected})
    unexpected = more - double
    examples = [f"missing {one}" for one in list(missing)[:3]]
    examples += [f"double {one}" for one in list(double)[:3]]
    examples += [f"unexpected {one}" for one in list(unexpected)[:3]]
    return Difference(
        topic, expected.total(), missing.total(), double.total(), unexpected.total(), tuple(examples)
    )


def _judged(values: Iterable[bytes]) -> Counter[Judged]:
    """Of the versions that decide."""
    read = map(json.loads, values)
    return Counter(verdict(event) for event in read if event.get("decides", True))


def verdict(event: dict[str, Any]) -> Judged:
    """A record of `scores` or `anomalies`, as the oracle has it."""
    return Judged(
        caused_by=event["caused_by"],
        asset=event["asset"],
        part_id=event["part_id"],
        sequence=event["sequence"],
        row=event["row"],
        score=event["score"],
        anomalous=event.get("anomalous", event["type"] == "anomaly"),
        model_digest=event["model_digest"],
        input_digest=event["input_digest"],
    )


def _refused(values: Iterable[bytes]) -> Counter[Refused]:
    letters = map(json.loads, values)
    return Counter(Refused(one["source"], one["reason"], base64.b64decode(one["payload"])) for one in letters)
