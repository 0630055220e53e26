"""What a station says of the gate at its end of line, and what is believed of one that says nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from twinloop.contracts.codec import decode
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.events import JointWelded
from twinloop.contracts.topics import DEAD_LETTERS
from twinloop.ingest import signal_sets
from twinloop.ingest.deadletters import MAX_DETAIL_CHARS
from twinloop.ingest.errors import Refused
from twinloop.ingest.intake import MAX_RECORD_BYTES, Fate, Intake
from twinloop.ingest.normalize import STEADY, Ages, part_made
from twinloop.ingest.rebirths import Rebirths
from twinloop.simulator.telemetry import METRICS
from twinloop.sparkplug import EdgeSession, NodeId

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
SETS = signal_sets.load(None)


def part(**told: Any) -> dict[str, Any]:
    return {
        "Signals/Set": "weld.v1",
        **{f"Signals/{name}": np.ones(3, np.float32) for name in SETS.find("weld.v1").columns},
        "Part/Id": "p",
        "Part/Counter": 1,
        "Part/WeldedAt": NOW_MS - 3,
        "Part/SamplePeriodUs": 1000,
        "Part/Resistance": 51.0,
        "Setpoint/Power": 1000.0,
        "Setpoint/Focus": 0.0,
        "Recipe": "r",
    } | {name.replace("__", "/"): value for name, value in told.items()}


def joint(**told: Any) -> JointWelded:
    made = part_made("a.b", NOW_MS, part(**told), SETS, Ages(60, 60), NOW).joint
    assert made is not None
    return made


def test_the_gate_in_force_and_its_verdict_are_kept() -> None:
    one = joint(Setpoint__EndOfLineLimit=50.0, Part__Rejected=True)
    assert (one.limit_uohm, one.rejected) == (50, True)
    assert "Setpoint/EndOfLineLimit" in STEADY
    assert "Part/Rejected" not in STEADY  # the next part's verdict is not this one's


def test_a_station_without_one_has_the_usual_gate() -> None:
    one = joint()
    assert (one.limit_uohm, one.rejected) == (55, False)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"Setpoint__EndOfLineLimit": "55"}, Reason.UNPROCESSABLE),
        ({"Setpoint__EndOfLineLimit": float("nan")}, Reason.NON_FINITE),
        ({"Part__Rejected": 1}, Reason.UNPROCESSABLE),
    ],
)
def test_what_is_no_gate_is_refused(told: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(Refused) as refused:
        joint(**told)
    assert refused.value.reason is reason


def test_a_part_too_large_for_kafka_is_refused_and_may_come_again() -> None:
    session = EdgeSession(NodeId("a", "b"), {"weld1": METRICS})
    intake = Intake(SETS, Ages(60, 60), b"0123456789abcdef", Rebirths(1.0))
    for one in session.births({"weld1": {}}, at_ms=NOW_MS):
        intake.mqtt(one.topic, one.payload, NOW)
    large = session.data("weld1", part(Recipe="r" * MAX_RECORD_BYTES), at_ms=NOW_MS)
    outcome = intake.mqtt(large.topic, large.payload, NOW)
    assert outcome.refused is not None
    assert outcome.refused.reason is Reason.UNPROCESSABLE
    assert all(len(one.value) < MAX_RECORD_BYTES for one in outcome.messages)
    again = session.data("weld1", part(), at_ms=NOW_MS)
    assert intake.mqtt(again.topic, again.payload, NOW).fate is Fate.FRAME


def test_of_a_reason_that_quotes_something_long_the_beginning_is_told() -> None:
    intake = Intake(SETS, Ages(60, 60), b"0123456789abcdef", Rebirths(1.0))
    outcome = intake.mqtt("spBv1.0/" + "x" * 60_000, b"", NOW)
    [record] = outcome.messages
    assert outcome.refused is not None
    assert len(outcome.refused.detail) == len(decode(DEAD_LETTERS, record.value).detail) == MAX_DETAIL_CHARS
