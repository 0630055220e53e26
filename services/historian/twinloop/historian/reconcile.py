"""Was every record taken exactly once, and is what was said of it there, exactly once? Pure.

Detectors put a receipt into each of their transactions (`twinloop.contracts.receipts`). Those of a partition
must follow each other without a gap and without an overlap, each over as many records as offsets; and of each
one's outputs, as many must be readable as it says. Nothing here knows how a detector works.

What was committed before the reconciliation began is not judged: the first receipt of a partition is where
the account of its offsets begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from twinloop.contracts.receipts import Receipt


class Kind(StrEnum):
    """What can be wrong."""

    RECORDS_LOST = "records_lost"
    RECORDS_REPEATED = "records_repeated"
    OUTPUTS_LOST = "outputs_lost"
    OUTPUTS_REPEATED = "outputs_repeated"


@dataclass(frozen=True, slots=True)
class Violation:
    """`count` records or outputs of `origin`; `text` says which."""

    kind: Kind
    count: int
    origin: str
    text: str


@dataclass(slots=True)
class _Account:
    """One transaction: what it owes (`None` while its receipt was not read), and what was read of it."""

    since_s: float
    owes: Receipt | None = None
    read: Counter[str] = field(default_factory=Counter)


class Reconciliation:
    """`topics`: the outputs that are read, by their names on the cluster. A transaction is judged
    `patience_s` after the first that was read of it: so long its records may take to be readable."""

    def __init__(self, topics: Collection[str], patience_s: float) -> None:
        self._topics = frozenset(topics)
        self._patience_s = patience_s
        self._begun_s: float | None = None
        self._next: dict[str, int] = {}
        self._accounts: dict[str, _Account] = {}
        self._judged: dict[str, float] = {}
        """Transactions that were judged a short while ago: what is read of them now is too many."""

    @property
    def open(self) -> int:
        """Transactions that were not judged yet."""
        return len(self._accounts)

    def receipt(self, one: Receipt, now_s: float) -> list[Violation]:
        """A receipt was read; those of an origin are read in the order in which they were committed."""
        found, begun = [], one.origin in self._next
        expected = self._next.get(one.origin, one.first)
        where = f"receipt of offsets {one.first} to {one.next - 1}, expected from {expected} on"
        if one.first > expected:
            found.append(Violation(Kind.RECORDS_LOST, one.first - expected, one.origin, where))
        elif one.first < expected:
            repeated = min(one.next, expected) - one.first
            found.append(Violation(Kind.RECORDS_REPEATED, repeated, one.origin, where))
        if (missing := one.next - one.first - one.taken) > 0:
            text = f"{one.taken} records were taken of offsets {one.first} to {one.next - 1}"
            found.append(Violation(Kind.RECORDS_LOST, missing, one.origin, text))
        elif missing < 0:
            text = f"{one.taken} records were taken of offsets {one.first} to {one.next - 1}"
            found.append(Violation(Kind.RECORDS_REPEATED, -missing, one.origin, text))
        self._next[one.origin] = one.next
        account = self._accounts.setdefault(one.event_id, _Account(now_s))
        if (begun or self._all_was_read(now_s)) and one.event_id not in self._judged:
            account.owes = one
        return found

    def _all_was_read(self, since_s: float) -> bool:
        """Whether all of a transaction of which something was first read then must have been read."""
        return self._begun_s is not None and since_s - self._begun_s >= self._patience_s

    def output(self, topic: str, receipt_id: str, now_s: float) -> None:
        """A record of a transaction was read."""
        self._accounts.setdefault(receipt_id, _Account(now_s)).read[topic] += 1

    def settle(self, now_s: float) -> tuple[int, list[Violation]]:
        """Judge what is due; to be called when all that is committed was read. Returns how many transactions
        were judged, and what is wrong.

        Outputs that were read before the first call, or within the patience after it, may belong to a receipt
        from before.
        """
        if self._begun_s is None:
            self._begun_s = now_s
        due = [key for key, one in self._accounts.items() if now_s - one.since_s >= self._patience_s]
        found, judged = list[Violation](), 0
        for key in due:
            account = self._accounts.pop(key)
            owed = account.owes
            if owed is None:
                if self._all_was_read(account.since_s) or key in self._judged:
                    text = f"outputs of transaction {key}, whose receipt is not there or was settled"
                    found.append(Violation(Kind.OUTPUTS_REPEATED, account.read.total(), "", text))
                continue
            judged += 1
            self._judged[key] = now_s
            for topic in self._topics & (owed.outputs.keys() | account.read.keys()):
                wanted, there = owed.outputs.get(topic, 0), account.read[topic]
                text = f"{there} of {wanted} records on {topic} of offsets {owed.first} to {owed.next - 1}"
                if there < wanted:
                    found.append(Violation(Kind.OUTPUTS_LOST, wanted - there, owed.origin, text))
                elif there > wanted:
                    found.append(Violation(Kind.OUTPUTS_REPEATED, there - wanted, owed.origin, text))
        for key in [one for one, at_s in self._judged.items() if now_s - at_s > 10 * self._patience_s]:
            del self._judged[key]
        return judged, found
