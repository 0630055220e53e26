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
from twinloop.contracts.models import ModelCard, ModelRoute, Reference, Trial
from twinloop.contracts.topics import ALARMS, SCORES
from twinloop.modelops import drift as drift_module
from twinloop.modelops.drift import At, Drift, decides
from twinloop.modelops.drift_watch import DriftWatch
from twinloop.modelops.metrics import Metrics
from twinloop.modelops.routes import MemoryRoutes
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka.clients import MemoryPublisher

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


def of_assets(**means: float) -> ModelCard:
    """A model that has learnt from assets at different levels, whose scores differ, too."""
    draw = np.random.default_rng(3)
    assets = {name: draw.normal(mean, size=5000) for name, mean in means.items()}
    pooled = np.quantile(np.concatenate(list(assets.values())), np.linspace(0, 1, 21))
    own = {name: np.quantile(values, np.linspace(0, 1, 21)) for name, values in assets.items()}
    return msgspec.structs.replace(
        CARD,
        trained=msgspec.structs.replace(CARD.trained, assets=tuple(means)),
        reference={"level.mean": tuple(pooled.tolist())},
        by_asset={
            name: Reference(windows=5000, quantiles={"level.mean": tuple(values.tolist())})
            for name, values in own.items()
        },
    )


def told(drift: Drift) -> list[str]:
    return [one.at.asset for one in drift.drifted(drift.shifts())]


def test_a_shift_is_told_once_and_again_when_it_had_gone() -> None:
    drift = Drift(card, HOUR)
    say(drift, 0.0, 400)
    assert told(drift) == []
    say(drift, 1.5, 800)
    (one,) = drift.drifted(drift.shifts())
    at = At("a", CONTRACT.signal_set, "level", 1)
    assert (one.at, one.worst.name, one.many) == (at, "level.mean", 1)
    assert "level:1 sees is not what it has learnt from, which was other assets: level.mean has" in one.text
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


def test_an_asset_is_held_against_what_it_was_itself() -> None:
    """Not against all that its model has learnt from."""
    drift = Drift(lambda *_: of_assets(low=-9.0, middle=0.0, high=9.0), HOUR)
    for asset, mean in (("low", -9.0), ("middle", 0.0), ("high", 0.0)):
        say(drift, mean, 400, asset=asset)
    (one,) = drift.drifted(drift.shifts())
    assert one.at.asset == "high"
    assert "not what it has learnt from: level.mean has shifted (PSI" in one.text
    say(drift, 0.0, 400, asset="new")
    assert told(drift) == ["new"]


def test_of_a_model_that_calibrates_itself_only_scores_are_held_against_its_own() -> None:
    own = Reference(windows=5000, quantiles={"score": tuple(np.linspace(1.0, 2.0, 21).tolist())})
    card = msgspec.structs.replace(CARD, reference={}, by_asset={"a": own})
    drift, draw = Drift(lambda *_: card, HOUR), np.random.default_rng(4)
    for asset in ("a", "new"):
        say(drift, 40.0, 100, asset=asset, score=0.0)  # it has not given a verdict yet
    assert drift.shifts() == {}
    for score in draw.uniform(1.0, 2.0, 300):
        for asset in ("a", "new"):
            say(drift, 40.0, 1, asset=asset, score=float(score))
    ((at, (shift,)),) = drift.shifts().items()
    assert (at.asset, shift.name, shift.count, shift.large) == ("a", "score", 300, False)
    for score in draw.uniform(1.9, 2.5, 600):
        say(drift, 40.0, 1, score=float(score))
    assert told(drift) == ["a"]


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


def test_what_decides_at_an_asset_is_told_from_what_only_stands_by() -> None:
    other = msgspec.structs.replace(CONTRACT, version=2)
    at = [At("a", CONTRACT.signal_set, "level", version) for version in (1, 2)]

    def by(**routes: ModelRoute) -> list[bool]:
        return [decides(one, {CONTRACT.signal_set: plain, **routes}) for one in at]

    plain = ModelRoute(event_id="r", scope=CONTRACT.signal_set, at=T0, contract=CONTRACT, previous=other)
    assert by() == [True, False]
    tried = msgspec.structs.replace(plain, trial=Trial(contract=other))
    assert by(a=tried) == [True, False]
    tried = msgspec.structs.replace(plain, trial=Trial(contract=other, assets=("a",)))
    assert by(a=tried) == [False, True]
    assert by(b=tried) == [True, False]
    elsewhere = msgspec.structs.replace(plain, contract=msgspec.structs.replace(other, signal_set="s.v1"))
    assert by(a=elsewhere) == [True, False]
    assert not decides(at[0], {})


async def test_the_gauge_forgets_the_version_before() -> None:
    registry, routes = CollectorRegistry(), MemoryRoutes()
    other = msgspec.structs.replace(CONTRACT, version=2)
    route = ModelRoute(event_id="r", scope=CONTRACT.signal_set, at=T0, contract=CONTRACT)
    routes.routes[CONTRACT.signal_set] = route
    drift = Drift(lambda *_: CARD, HOUR)
    watch = DriftWatch(drift, routes, MemoryPublisher(), ManualClock(T0), Metrics(registry), 10.0)

    def shown() -> float | None:
        return registry.get_sample_value("twinloop_modelops_drift_psi", {"asset": "a", "model": "level"})

    say(drift, 0.0, 300)
    await watch.look()
    assert (shown() or 9) < 0.25
    routes.routes[CONTRACT.signal_set] = msgspec.structs.replace(route, contract=other, previous=CONTRACT)
    say(drift, 3.0, 300, model_version=2)
    await watch.look()
    assert (shown() or 0) > 0.25


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
