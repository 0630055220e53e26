"""Drift: which assets are told of, how often, and what is followed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry
from support.artefacts import artefact_of, card_of
from support.modelops import verdict

from twinloop.contracts.codec import decode, message
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.models import ModelCard, ModelRoute
from twinloop.contracts.topics import ALARMS, SCORES
from twinloop.modelops import drift as drift_module
from twinloop.modelops.drift import At, Drift
from twinloop.modelops.drift_watch import DriftWatch
from twinloop.modelops.metrics import Metrics
from twinloop.modelops.routes import MemoryRoutes
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka import MemoryPublisher

T0 = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
CONTRACT = msgspec.structs.replace(artefact_of("level", 1.0).contract, version=1)
LEVELS = tuple(np.quantile(np.random.default_rng(1).normal(size=10_000), np.linspace(0, 1, 21)).tolist())
CARD = msgspec.structs.replace(card_of(CONTRACT), reference={"level.mean": LEVELS, "score": LEVELS})


def card(model: str, version: int) -> ModelCard | None:
    return CARD if (model, version) == ("level", 1) else None


def say(drift: Drift, mean: float, count: int, asset: str = "a", at: datetime = T0, **other: object) -> None:
    draw = np.random.default_rng(count)
    for n in range(count):
        level, score = draw.normal(mean), draw.normal()
        what = {"asset": asset, "features": {"level.mean": level}, "score": score, **other}
        drift.take(verdict(CONTRACT, n, False, at, **what), at)


def told(drift: Drift) -> list[str]:
    return [one.at.asset for one in drift.drifted(drift.shifts())]


def test_a_shift_is_told_once_and_again_when_it_had_gone() -> None:
    drift = Drift(card, HOUR)
    say(drift, 0.0, 400)
    assert told(drift) == []
    say(drift, 1.5, 800)
    (one,) = drift.drifted(drift.shifts())
    assert (one.at, one.worst.name, one.many) == (At("a", "level", 1), "level.mean", 1)
    assert "level:1 sees is not what it has learnt from: level.mean has shifted (PSI" in one.text
    assert told(drift) == []
    for hours in (1, 2):
        say(drift, 0.0, 400, at=T0 + hours * HOUR)
    assert told(drift) == []
    say(drift, 1.5, 900, at=T0 + 2 * HOUR)
    assert told(drift) == ["a"]


def test_only_who_decides_and_has_a_card_is_followed() -> None:
    drift = Drift(card, HOUR)
    say(drift, 3.0, 300, asset="shadowed", decides=False)
    say(drift, 3.0, 300, asset="other", model_version=2)
    assert drift.shifts() == {}
    say(drift, 3.0, 300, asset="a")
    drift.forget(lambda at: at.asset != "a")
    assert drift.shifts() == {}


def test_a_fleet_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_module, "MOST_ASSETS", 3)
    drift = Drift(card, HOUR)
    for n in range(5):
        say(drift, 0.0, 10, asset=f"vehicle{n}")
    assert (len(drift.shifts()), drift.left_out) == (3, 20)


def test_what_has_learnt_nothing_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet whose model has an empty reference leaves the room to stations, and its card is read once."""
    asked: list[tuple[str, int]] = []

    def cards(model: str, version: int) -> ModelCard | None:
        asked.append((model, version))
        return msgspec.structs.replace(CARD, reference={}) if version == 2 else card(model, version)

    monkeypatch.setattr(drift_module, "MOST_ASSETS", 1)
    drift = Drift(cards, HOUR)
    for n in range(5):
        say(drift, 3.0, 10, asset=f"vehicle{n}", model_version=2)
    say(drift, 0.0, 10, asset="weld1")
    assert ([at.asset for at in drift.shifts()], drift.left_out) == (["weld1"], 0)
    assert asked == [("level", 2), ("level", 1)]


async def test_it_is_shown_and_an_alarm_asks_a_person() -> None:
    registry, out, routes = CollectorRegistry(), MemoryPublisher(), MemoryRoutes()
    route = ModelRoute(event_id="r", scope=CONTRACT.signal_set, at=T0, contract=CONTRACT)
    routes.routes[CONTRACT.signal_set] = route
    watch = DriftWatch(Drift(card, HOUR), routes, out, ManualClock(T0), Metrics(registry), 10.0)
    draw = np.random.default_rng(2)
    records = []
    for n in range(500):
        what = {"asset": "a", "features": {"level.mean": draw.normal(2.0)}, "score": draw.normal()}
        value = message(SCORES, verdict(CONTRACT, n, False, T0, **what), source="test").value
        records.append(record(value))
    watch.take([*records, record(b"no verdict")])
    await watch.look()
    shown = registry.get_sample_value("twinloop_modelops_drift_psi", {"asset": "a", "model": "level"})
    assert shown is not None
    assert shown > 0.25
    (alarm,) = [decode(ALARMS, one.value) for one in out.messages]
    assert isinstance(alarm, Alarm)
    assert (alarm.code, alarm.asset) == (AlarmCode.MODEL_DRIFT, "a")
    await watch.look()
    assert len(out.messages) == 1
    routes.routes.clear()
    await watch.look()
    assert registry.get_sample_value("twinloop_modelops_drift_psi", {"asset": "a", "model": "level"}) is None


def record(value: bytes) -> ConsumerRecord:
    return ConsumerRecord(SCORES.name, 0, 0, 0, 0, b"a", value, None, 1, len(value), ())
