"""What an edge node stored while nobody listened: it counts, with the time at which it was captured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from twinloop.contracts.codec import decode
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import Frame, decode_frame
from twinloop.contracts.times import unix_ns
from twinloop.contracts.topics import GENEALOGY
from twinloop.ingest import signal_sets
from twinloop.ingest.intake import Fate, Intake, Outcome
from twinloop.ingest.normalize import Ages
from twinloop.ingest.rebirths import Rebirths
from twinloop.simulator.telemetry import METRICS
from twinloop.sparkplug import EdgeSession, NodeId

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
SETS = signal_sets.load(None)
SETTINGS = {
    "Signals/Set": "weld.v1",
    "Part/SamplePeriodUs": 1000,
    "Setpoint/Power": 1000.0,
    "Setpoint/Focus": 0.0,
    "Recipe": "r",
}


class Plant:
    """An edge node that was born, and the ingest that hears it."""

    def __init__(self) -> None:
        self.session = EdgeSession(NodeId("a", "b"), {"weld1": METRICS})
        self.intake = Intake(SETS, Ages(3600, 60), b"0123456789abcdef", Rebirths(1.0))
        for one in self.session.births({"weld1": SETTINGS}, at_ms=NOW_MS):
            self.intake.mqtt(one.topic, one.payload, NOW)

    def tell(self, sequence: int, ended: datetime = NOW, *, historical: bool = False, **more: Any) -> Outcome:
        """A part that ended then, told now."""
        ended_ms = int(ended.timestamp() * 1000)
        values = {
            **{f"Signals/{name}": np.ones(3, np.float32) for name in SETS.find("weld.v1").columns},
            "Part/Id": f"p{sequence}",
            "Part/Counter": sequence,
            "Part/WeldedAt": ended_ms - 3,
            "Part/Resistance": 42.0,
        } | {name.replace("__", "/"): value for name, value in more.items()}
        message = self.session.data(
            "weld1", values, at_ms=NOW_MS, captured_ms=ended_ms, historical=historical
        )
        return self.intake.mqtt(message.topic, message.payload, NOW)

    def afterwards(self, sequence: int, ended: datetime, **more: Any) -> Outcome:
        """A part with all that was in force, told of as historical."""
        settings = {name.replace("/", "__"): value for name, value in SETTINGS.items()}
        return self.tell(sequence, ended, historical=True, **(settings | more))


def kept(outcome: Outcome) -> tuple[Frame, JointWelded]:
    assert outcome.fate is Fate.FRAME, outcome.refused
    frame, joint = outcome.messages
    event = decode(GENEALOGY, joint.value)
    assert isinstance(event, JointWelded)
    return decode_frame(frame.value), event


@pytest.mark.parametrize("age", [timedelta(seconds=3), timedelta(days=400)])
def test_it_has_the_time_at_which_it_was_captured_however_old_that_is(age: timedelta) -> None:
    ended = NOW - age
    frame, joint = kept(Plant().afterwards(1, ended))
    assert (frame.observed_at_ns, joint.observed_at) == (unix_ns(ended), ended)
    assert frame.first_at_ns == unix_ns(ended) - 3_000_000
    assert joint.at == NOW  # when it was heard


def test_what_is_told_as_it_happens_has_the_messages_time_and_may_be_too_old() -> None:
    plant = Plant()
    frame, joint = kept(plant.tell(1, NOW - timedelta(seconds=3)))
    assert (frame.observed_at_ns, joint.observed_at) == (unix_ns(NOW), NOW)
    refused = plant.tell(2, NOW - timedelta(days=400)).refused
    assert refused is not None
    assert refused.reason is Reason.TOO_OLD


def test_the_past_may_not_be_the_future() -> None:
    refused = Plant().afterwards(1, NOW + timedelta(hours=1)).refused
    assert refused is not None
    assert refused.reason is Reason.IN_FUTURE


def test_what_was_in_force_then_is_neither_taken_from_now_nor_taken_for_now() -> None:
    plant = Plant()
    _, joint = kept(plant.afterwards(1, NOW - timedelta(minutes=1), Setpoint__Power=950.0))
    assert joint.power_w == 950
    refused = plant.tell(2, NOW - timedelta(minutes=1), historical=True).refused
    assert refused is not None
    assert refused.reason is Reason.UNPROCESSABLE
    _, joint = kept(plant.tell(3))
    assert joint.power_w == 1000


def test_what_comes_again_because_nobody_knew_whether_it_came_is_one_part() -> None:
    plant = Plant()
    live = kept(plant.tell(1, NOW))
    kept(plant.tell(2, NOW))
    assert plant.afterwards(1, NOW).fate is Fate.DUPLICATE
    assert plant.afterwards(2, NOW).fate is Fate.DUPLICATE
    assert plant.afterwards(3, NOW).fate is Fate.FRAME
    again = kept(Plant().afterwards(1, NOW))  # by an ingest that was started anew
    assert [one.event_id for one in again] == [one.event_id for one in live]
    assert again[0].observed_at_ns == live[0].observed_at_ns
