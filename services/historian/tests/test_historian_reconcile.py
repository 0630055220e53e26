"""Each record once, and each output once: what is missing or there twice is told, and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.receipts import Receipt, receipt_id
from twinloop.historian.reconcile import Kind, Reconciliation

ORIGIN = "detector/telemetry.factory/3"
TOPICS = ("anomalies", "scores")
AT = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE_S = 30.0


def receipt(first: int, next_: int, taken: int | None = None, **outputs: int) -> Receipt:
    return Receipt(
        event_id=receipt_id(ORIGIN, first, next_),
        origin=ORIGIN,
        at=AT,
        first=first,
        next=next_,
        taken=next_ - first if taken is None else taken,
        outputs=outputs,
    )


class Reader:
    """A reconciliation that has read one receipt, and what it was told since."""

    def __init__(self) -> None:
        self.account = Reconciliation(TOPICS, PATIENCE_S)
        self.now_s = 0.0
        self.found: list[tuple[Kind, int]] = []
        self.judged = 0
        self.settle()
        self.later()
        self.read(receipt(0, 10))

    def read(self, one: Receipt) -> None:
        self.found += [(it.kind, it.count) for it in self.account.receipt(one, self.now_s)]

    def outputs(self, of: Receipt, **there: int) -> None:
        for topic, count in there.items():
            for _ in range(count):
                self.account.output(topic, of.event_id, self.now_s)

    def later(self, seconds: float = PATIENCE_S) -> None:
        self.now_s += seconds
        self.settle()

    def settle(self) -> None:
        judged, found = self.account.settle(self.now_s)
        self.judged += judged
        self.found += [(it.kind, it.count) for it in found]


def test_what_is_right_is_not_told() -> None:
    reader = Reader()
    for n in range(10, 100, 10):
        one = receipt(n, n + 10, anomalies=2, scores=1)
        reader.outputs(one, anomalies=2)
        reader.read(one)
        reader.outputs(one, scores=1)
    reader.later()
    assert (reader.found, reader.judged, reader.account.open) == ([], 10, 0)


def test_a_record_that_no_transaction_took_is_lost() -> None:
    reader = Reader()
    reader.read(receipt(13, 20))
    assert reader.found == [(Kind.RECORDS_LOST, 3)]


def test_records_that_two_transactions_took_are_repeated() -> None:
    reader = Reader()
    reader.read(receipt(6, 8))
    reader.read(receipt(8, 20))
    assert reader.found == [(Kind.RECORDS_REPEATED, 2)]


def test_offsets_without_records_are_lost_records() -> None:
    reader = Reader()
    reader.read(receipt(10, 20, taken=9))
    reader.read(receipt(20, 30, taken=12))
    assert reader.found == [(Kind.RECORDS_LOST, 1), (Kind.RECORDS_REPEATED, 2)]


@pytest.mark.parametrize(("there", "kind"), [(1, Kind.OUTPUTS_LOST), (3, Kind.OUTPUTS_REPEATED)])
def test_outputs_that_are_missing_or_too_many_are_told_once_their_time_is_over(
    there: int, kind: Kind
) -> None:
    reader = Reader()
    one = receipt(10, 20, anomalies=2, scores=1)
    reader.read(one)
    reader.outputs(one, anomalies=there, scores=1)
    reader.later(PATIENCE_S - 1)
    assert reader.found == []
    reader.later(1)
    assert reader.found == [(kind, 1)]


def test_an_output_that_comes_after_the_judgement_is_one_too_many() -> None:
    reader = Reader()
    one = receipt(10, 20, anomalies=1)
    reader.read(one)
    reader.outputs(one, anomalies=1)
    reader.later()
    reader.outputs(one, anomalies=1)
    reader.later()
    assert reader.found == [(Kind.OUTPUTS_REPEATED, 1)]


def test_outputs_without_a_receipt_are_told_unless_they_may_be_from_before() -> None:
    reader = Reader()
    reader.outputs(receipt(50, 60), scores=2)
    reader.later()
    assert reader.found == [(Kind.OUTPUTS_REPEATED, 2)]

    early = Reconciliation(TOPICS, PATIENCE_S)
    early.output("scores", receipt(0, 5).event_id, 0.0)
    assert early.settle(100.0) == (0, [])
    early.output("scores", receipt(0, 5).event_id, 110.0)
    assert early.settle(200.0) == (0, [])


def test_the_first_receipt_of_a_partition_is_judged_unless_some_of_it_may_be_from_before() -> None:
    for waited_s, found in ((PATIENCE_S, [(Kind.OUTPUTS_LOST, 2)]), (1.0, [])):
        account = Reconciliation(TOPICS, PATIENCE_S)
        account.settle(0.0)
        assert account.receipt(receipt(70, 80, scores=3), waited_s) == []
        account.output("scores", receipt(70, 80).event_id, waited_s)
        _, told = account.settle(waited_s + PATIENCE_S)
        assert [(one.kind, one.count) for one in told] == found


def test_what_is_not_read_is_not_missed() -> None:
    reader = Reader()
    reader.read(receipt(10, 20, **{"model-memory": 4}))
    reader.later()
    assert reader.found == []


@given(st.lists(st.integers(1, 5), min_size=2, max_size=8), st.data())
def test_leaving_out_or_doubling_any_transaction_is_noticed(sizes: list[int], data: st.DataObject) -> None:
    starts = [10 + sum(sizes[:n]) for n in range(len(sizes))]
    log = [receipt(first, first + size) for first, size in zip(starts, sizes, strict=True)]
    victim = data.draw(st.integers(0, len(log) - 1))
    doubled = data.draw(st.booleans())
    if not doubled and victim == len(log) - 1:
        victim = 0  # the last one: what comes later tells
    reader = Reader()
    for n, one in enumerate(log):
        for _ in range({True: 2, False: 0}[doubled] if n == victim else 1):
            reader.read(one)
    kind = Kind.RECORDS_REPEATED if doubled else Kind.RECORDS_LOST
    assert reader.found == [(kind, sizes[victim])]
