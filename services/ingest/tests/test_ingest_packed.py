"""Samples as base64 instead of lists: the same frame, and VINs are still found."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.contracts.codec import decode
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.frames import Frame, decode_frame
from twinloop.contracts.topics import DEAD_LETTERS
from twinloop.ingest import signal_sets
from twinloop.ingest.intake import Fate, Intake, Outcome
from twinloop.ingest.normalize import Ages
from twinloop.ingest.pseudonyms import contains_vin
from twinloop.ingest.rebirths import Rebirths
from twinloop.ingest.withhold import readable

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SETS = signal_sets.load(None)
CELLS = SETS.find("vehicle.cells.v1")
VIN = "1M8GDM9AXKP042788"
CAR = "4711" * 8
TOPIC = f"vehicles/{CAR}/telemetry"


def minute(seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    draw = np.random.default_rng(seed)
    return np.asarray(3.7 + 0.01 * draw.standard_normal((60, len(CELLS.columns))), np.float32).round(3)


def packed(samples: np.ndarray[Any, np.dtype[np.float32]]) -> str:
    return base64.b64encode(samples.astype("<f4").tobytes()).decode()


def body(**changed: Any) -> bytes:
    told = {
        "signal_set": CELLS.name,
        "sequence": 1,
        "first_at": (NOW - timedelta(minutes=1)).isoformat(),
        "period_us": 1_000_000,
        "samples": packed(minute()),
    }
    return json.dumps({name: one for name, one in (told | changed).items() if one is not None}).encode()


def intake(ages: Ages | None = None) -> Intake:
    return Intake(SETS, ages or Ages(3600, 60), b"0123456789abcdef", Rebirths(1.0))


def frame(outcome: Outcome) -> Frame:
    [message] = outcome.messages
    return decode_frame(message.value)


def refused(outcome: Outcome) -> Reason:
    assert outcome.fate is Fate.DEAD_LETTER
    assert outcome.refused is not None
    return outcome.refused.reason


def test_the_set_has_a_column_for_each_cell_group() -> None:
    assert len(CELLS.columns) == 98
    assert CELLS.columns[1].endswith("CellVoltages[0]")
    assert CELLS.columns[96].endswith("CellVoltages[95]")


def test_packed_samples_are_the_frame_that_lists_would_be() -> None:
    samples = minute()
    lists = {name: samples[:, at].tolist() for at, name in enumerate(CELLS.columns)}
    one, other = (
        frame(intake().mqtt(TOPIC, text, NOW)) for text in (body(), body(samples=None, signals=lists))
    )
    assert np.array_equal(one.samples, samples)
    assert np.array_equal(one.samples, other.samples)
    assert (one.event_id, one.observed_at_ns, one.asset) == (
        other.event_id,
        other.observed_at_ns,
        f"vehicle.{CAR}",
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"samples": packed(minute()[:, :97])}, Reason.WRONG_SIGNAL_COUNT),
        ({"samples": ""}, Reason.UNPROCESSABLE),
        ({"samples": "no base64!"}, Reason.UNDECODABLE),
        ({"samples": packed(np.full((60, 98), np.nan, np.float32))}, Reason.NON_FINITE),
        ({"signals": {}}, Reason.UNPROCESSABLE),
        ({"samples": None}, Reason.UNPROCESSABLE),
        ({"part_id": VIN}, Reason.VIN_IN_CLEAR),
        ({"samples": VIN}, Reason.VIN_IN_CLEAR),
    ],
)
def test_what_is_wrong_with_them_is_said(changed: dict[str, Any], reason: Reason) -> None:
    one = intake()
    assert refused(one.mqtt(TOPIC, body(**changed), NOW)) is reason
    assert one.mqtt(TOPIC, body(), NOW).fate is Fate.FRAME


@given(st.binary(min_size=48, max_size=400))
def test_packed_samples_are_never_taken_for_a_vin(some: bytes) -> None:
    assert not contains_vin(readable(body(samples=base64.b64encode(some).decode())).encode())


def test_a_run_of_base64_that_looks_like_one_is_no_reason_to_refuse() -> None:
    text = ("+" + VIN + "+").ljust(64 * 4, "A")
    assert contains_vin(text.encode())
    whole = text + packed(np.zeros((60, 98), np.float32))[len(text) :]
    outcome = intake().mqtt(TOPIC, body(samples=whole), NOW)
    assert outcome.refused is None or outcome.refused.reason is Reason.NON_FINITE


def test_a_refused_minute_keeps_no_vin_in_its_dead_letter() -> None:
    [message] = intake().mqtt(TOPIC, body(samples=VIN), NOW).messages
    assert VIN.encode() not in message.value
    assert VIN.encode() not in decode(DEAD_LETTERS, message.value).payload


def test_vehicles_may_be_older_where_it_is_said() -> None:
    old = body(first_at=(NOW - 200 * DAY).isoformat())
    assert refused(intake().mqtt(TOPIC, old, NOW)) is Reason.TOO_OLD
    patient = Ages(3600, 60, vehicle_max_age_s=300 * 86_400)
    assert intake(patient).mqtt(TOPIC, old, NOW).fate is Fate.FRAME
    assert refused(intake(patient).mqtt(TOPIC, body(first_at=(NOW - 400 * DAY).isoformat()), NOW)) is (
        Reason.TOO_OLD
    )
    weld = {name: [1.0, 2.0] for name in SETS.find("weld.v1").columns}
    told = body(
        samples=None, signals=weld, signal_set="weld.v1", asset="a.b", first_at=(NOW - DAY).isoformat()
    )
    assert refused(intake(patient).http(told, NOW)) is Reason.TOO_OLD
