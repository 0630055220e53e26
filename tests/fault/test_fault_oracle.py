"""The oracle by hand-made cases, and the reconciliation by hand-made differences."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from itertools import islice

import pytest

from fault.load import SIGNAL_SET, SIGNALS, Content, Mix
from fault.oracle import Expected, Given, Judged, Rules, expect
from fault.reconcile import reconcile
from twinloop.contracts.telemetry_pb2 import TelemetryFrame

RULES = Rules(SIGNAL_SET, signals=1, window=4, hop=2, threshold=0.5, memory=100)


def frame(sequence: int, *values: float, asset: str = "a", **other: object) -> bytes:
    samples = struct.pack(f"<{len(values)}f", *values)
    fields = {"signal_count": 1, "samples": samples, "signal_set": SIGNAL_SET} | other
    return TelemetryFrame(
        asset=asset, sequence=sequence, event_id=f"{asset}{sequence}", **fields
    ).SerializeToString()


def told(*values: bytes, rules: Rules = RULES) -> Expected:
    return expect([Given("t", 0, n, value) for n, value in enumerate(values)], rules)


def windows(expected: Expected) -> list[tuple[int, int, float]]:
    return sorted((one.sequence, one.row, one.score) for one in expected.verdicts.elements())


def reasons(expected: Expected) -> list[tuple[str, str]]:
    return sorted((one.source, one.reason) for one in expected.refused.elements())


def test_windows_hop_over_frames() -> None:
    expected = told(frame(0, 0, 0, 1), frame(1, 1, 1, 1), frame(2, 0, 0, 0))
    assert windows(expected) == [(1, 0, 0.5), (1, 2, 1.0), (2, 1, 0.5)]
    assert expected.anomalies.total() == 1
    digest = hashlib.sha256(struct.pack("<4f", 0, 0, 1, 1)).hexdigest()
    assert digest in {one.input_digest for one in expected.verdicts}


def test_a_model_is_given_its_own_signals_in_its_own_order() -> None:
    rules = Rules(SIGNAL_SET, signals=3, window=2, hop=2, threshold=0.5, memory=100, takes=(2, 0))
    (one,) = told(frame(0, 0, 9, 1, 2, 9, 3, signal_count=3), rules=rules).verdicts
    digest = hashlib.sha256(struct.pack("<4f", 1, 0, 3, 2)).hexdigest()
    assert (one.score, one.input_digest) == (1.5, digest)


def test_windows_lie_where_the_sequence_says_unless_a_part_begins() -> None:
    assert windows(told(frame(1, 0, 1, 2, 3, 4))) == [(1, 4, 2.5)]  # sample 5 is no multiple of the hop
    assert windows(told(frame(1, 0, 1, 2, 3, 4, part_id="p"))) == [(1, 3, 1.5)]


@pytest.mark.parametrize(
    "breaking",
    [
        frame(2, 1, 1),  # a gap
        frame(1, 1, 1, part_id="p"),
        frame(1, 1, 1, bad=b"\x80"),
    ],
)
def test_a_ring_ends_at_a_break(breaking: bytes) -> None:
    assert windows(told(frame(0, 1, 1), breaking)) == []


def test_duplicates_are_dropped_and_late_frames_refused() -> None:
    expected = told(frame(5, 0, 0), frame(6, 0, 0), frame(5, 0, 0), frame(3, 0, 0), frame(7, 1, 1))
    assert expected.duplicates == 1
    assert reasons(expected) == [("t/0/3", "out_of_order")]
    assert windows(expected) == [(6, 1, 0.0), (7, 1, 0.5)]


def test_what_is_older_than_memory_is_forgotten() -> None:
    others = [frame(n, 0, asset="b") for n in range(101)]
    expected = told(frame(5, 0, 0), *others, frame(5, 0, 0))
    assert not expected.refused
    assert not expected.duplicates


def test_a_part_that_is_older_than_memory_begins_anew_by_sequence() -> None:
    values = [frame(n, 0, part_id="p") for n in range(120)]
    ends = [one.sequence for one in told(*values).verdicts]
    anew = [*range(105, 120, 2)]  # from 101 on; counted from 0, the first window is that from 102 to 105
    assert sorted(ends) == [*range(3, 100, 2), *anew]


def test_no_window_spans_more_than_memory() -> None:
    values = []
    for n in range(10):
        values += [frame(n, 1), *(frame(40 * n + m, 0, asset="b") for m in range(40))]
    assert not [one for one in told(*values).verdicts if one.asset == "a"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\x0a\xff", "undecodable"),
        (frame(0, 0, asset=""), "undecodable"),
        (frame(0, 0, 0)[:0] + frame(0, 0, bad=b"\x00\x00"), "undecodable"),
        (frame(0, 0, samples=b"\x00" * 5), "wrong_signal_count"),
        (frame(0, 0, 0, signal_count=2), "wrong_signal_count"),
        (frame(0, float("nan")), "non_finite"),
    ],
)
def test_what_is_refused(value: bytes, reason: str) -> None:
    assert reasons(told(value)) == [("t/0/0", reason)]


def test_nobodys_frames_are_counted() -> None:
    assert told(frame(0, 0, signal_set="other")).unrouted == 1


def test_a_partition_halts_before_the_refusal_that_is_too_many() -> None:
    rules = Rules(SIGNAL_SET, 1, 4, 2, 0.5, 100, limit=2)
    expected = told(b"\xff", b"\xff", frame(0, 0), b"\xff", frame(1, 0, 0, 0), rules=rules)
    assert expected.halts == {0: 3}
    assert len(expected.refused) == 2
    assert not expected.verdicts


def event(one: Judged) -> bytes:
    fields = {name: getattr(one, name) for name in Judged.__slots__}
    return json.dumps(fields | {"type": "verdict"}).encode()


def test_a_loss_a_double_and_an_invention_are_told_apart() -> None:
    expected = told(frame(0, 1, 1), frame(1, 1, 1), frame(2, 1, 1), frame(3, 1, 1), b"\xff")
    scores = [event(one) for one in expected.verdicts]
    letters = [
        json.dumps(
            {"source": "t/0/4", "reason": "undecodable", "payload": base64.b64encode(b"\xff").decode()}
        ).encode()
    ]
    assert reconcile(expected, scores, scores, letters).exact
    wrong = json.dumps(json.loads(scores[0]) | {"score": 0.9}).encode()
    found = reconcile(expected, [*scores[1:], scores[1], wrong], scores[:-1], [])
    assert not found.exact
    verdicts, anomalies, refused = found.differences
    assert (verdicts.missing, verdicts.double, verdicts.unexpected) == (1, 1, 1)
    assert (anomalies.missing, anomalies.double, anomalies.unexpected) == (1, 0, 0)
    assert (refused.missing, refused.double, refused.unexpected) == (1, 0, 0)
    assert "1 missing, 1 double, 1 unexpected of 3" in str(found)


def test_the_load_holds_every_trouble_and_is_the_same_for_a_seed() -> None:
    content = Content(3, assets=20, mix=Mix(poison=0.1))
    taken = list(islice(content, 20_000))
    kinds = {"sound", "garbage", "ragged", "signals", "non_finite", "stale", "duplicate", "gap", "late"}
    assert kinds | {"marked_bad", "unrouted"} <= set(content.injected)
    again = list(islice(Content(3, assets=20, mix=Mix(poison=0.1)), 20_000))
    assert [key for key, _ in taken] == [key for key, _ in again]
    expected = expect(
        [Given("t", 0, n, value) for n, (_, value) in enumerate(taken)],
        Rules(SIGNAL_SET, SIGNALS, 8, 2, 0.75, 1000, limit=10_000),
    )
    assert min(expected.duplicates, expected.unrouted, len(expected.verdicts)) > 0
    assert {reason for _, reason in reasons(expected)} == {
        "undecodable",
        "wrong_signal_count",
        "non_finite",
        "out_of_order",
    }
