"""`decide` against a small process: drift, defocus, gap and health, part by part, no I/O.

The process is a toy: depth is linear in coupled power, and a controller that works only on it would still be
wrong. It is here because a loop shows what single decisions hide: wind-up, hunting, repeated changes.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Approved,
    Diagnosis,
    Failed,
    Hold,
    Inconclusive,
    Issued,
    Parameter,
    Proposed,
    SetParameter,
    Simulated,
    Verified,
)
from twinloop.contracts.events import Alarm, AlarmCode, Anomaly, JointWelded
from twinloop.controller.policy import AssetPolicy, ControllerPolicy
from twinloop.controller.state import Ignored, Outcome, Station
from twinloop.controller.station import StationEvent, decide
from twinloop.runtime.settings import load_toml

T = TypeVar("T")

ASSET = "acme.berlin.packs.line1.weld1"
START = datetime(2026, 1, 1, tzinfo=UTC)
SHIPPED = Path(__file__).parents[3] / "deploy/local/config/controller.toml"
POLICY = load_toml(SHIPPED, ControllerPolicy).of(ASSET)

REFERENCE = {
    "oct_depth_mm.mean": (0.5, 0.0084),
    "window_temperature_c.mean": (28.0, 0.4),
    "back_reflection.mean": (1.0, 0.0105),
    "plasma.mean": (0.9, 0.016),
}


@dataclass
class Fault:
    """Of one part: what is wrong with the process when it is made."""

    tau: float = 1.0
    defocus_mm: float = 0.0
    plasma: float = 0.0
    extra_uohm: float = 0.0


@dataclass
class Loop:
    """The toy process, the line and the clock around `decide`.

    `lag` parts pass between a proposal and its being applied; `refuse` lets the device refuse every write.
    """

    seed: int
    fault: Callable[[int], Fault] = lambda _: Fault()
    policy: AssetPolicy = POLICY
    lag: int = 2
    refuse: bool = False
    threshold: float = 3.5
    power_w: float = 1000.0
    focus_mm: float = 0.0
    station: Station = field(default_factory=lambda: Station(asset=ASSET))
    outcomes: list[Outcome] = field(default_factory=list)
    resistances: list[float] = field(default_factory=list)
    powers: list[float] = field(default_factory=list)
    folded: list[StationEvent] = field(default_factory=list)
    held: bool = False

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.now = START
        self.due: list[tuple[int, Proposed]] = []

    def run(self, parts: int) -> Loop:
        for number in range(1, parts + 1):
            if not self.held:
                self._weld(number)
            self._line(number)
        return self

    def of(self, kind: type[T]) -> list[T]:
        return [one for one in self.outcomes if isinstance(one, kind)]

    def _fold(self, event: StationEvent) -> None:
        self.folded.append(event)
        self.station, outcomes = decide(self.station, event, self.policy, self.now)
        self.outcomes.extend(outcomes)
        for one in outcomes:
            if isinstance(one, Proposed | Verified | Inconclusive):
                self._fold(one)  # it comes back through the topic

    def _weld(self, number: int) -> None:
        self.now += timedelta(milliseconds=50)
        fault, gauss = self.fault(number), self.random.gauss
        z_mm, ratio = fault.defocus_mm + self.focus_mm, self.power_w / 1000.0
        q = fault.tau * ratio * (1 + gauss(0, 0.01)) * (1 + (z_mm / 1.2) ** 2) ** -0.75
        depth = max(0.0, 0.5 * (q - 0.4) / 0.6)
        width = min(1.4, math.sqrt(max(0.0, depth - 0.3) / 0.2))
        uohm = 30 + 12 / max(width, 0.008) + 400 * max(0, depth - 0.68) + fault.extra_uohm
        features = {
            "oct_depth_mm.mean": depth + gauss(0, 0.0012),
            "window_temperature_c.mean": 28 + 60 * (1 - fault.tau) * ratio + gauss(0, 0.4),
            "back_reflection.mean": fault.tau**2
            * ratio
            * (1 + 1 / 9)
            / (1 + ((z_mm - 0.4) / 1.2) ** 2)
            * (1 + gauss(0, 0.0105)),
            "plasma.mean": 0.8 * q + 0.1 + fault.plasma + gauss(0, 0.014),
        }
        deviations = {name: (features[name] - mean) / sd for name, (mean, sd) in REFERENCE.items()}
        self.resistances.append(uohm)
        self.powers.append(self.power_w)
        self._fold(joint(number, self.now, uohm + gauss(0, 2.0), self.power_w, self.focus_mm))
        if max(map(abs, deviations.values())) > self.threshold:
            self._fold(anomaly(number, self.now, features, deviations))

    def _line(self, number: int) -> None:
        for one in self.outcomes:
            if isinstance(one, Proposed) and one.change_id not in {p.change_id for _, p in self.due}:
                self.due.append((number + self.lag, one))
        for when, proposed in self.due:
            if when == number:
                for event in life(proposed, self.now, number, refused=self.refuse):
                    self._fold(event)
                if not self.refuse:
                    self._apply(proposed)

    def _apply(self, proposed: Proposed) -> None:
        action = proposed.action
        if isinstance(action, Hold):
            self.held = True
        elif action.parameter is Parameter.LASER_POWER_W:
            assert action.expected == self.power_w
            self.power_w = action.value
        else:
            assert action.expected == self.focus_mm
            self.focus_mm = action.value


def joint(number: int, at: datetime, uohm: float, power_w: float, focus_mm: float = 0.0) -> JointWelded:
    return JointWelded(
        event_id=f"joint-{number}",
        asset=ASSET,
        at=at,
        observed_at=at,
        trace_id=f"trace-{number}",
        part_id=f"part-{number}",
        sequence=number,
        recipe="tab-a",
        resistance_uohm=uohm,
        power_w=power_w,
        focus_mm=focus_mm,
    )


def anomaly(number: int, at: datetime, features: dict[str, float], deviations: dict[str, float]) -> Anomaly:
    return Anomaly(
        event_id=f"anomaly-{number}",
        asset=ASSET,
        at=at,
        observed_at=at,
        trace_id=f"trace-{number}",
        signal_set="weld.v1",
        part_id=f"part-{number}",
        sequence=number,
        row=299,
        score=9.0,
        threshold=3.5,
        features=features,
        deviations=deviations,
        model="weld",
        model_version=1,
        input_digest="d",
    )


def life(proposed: Proposed, at: datetime, counter: int, *, refused: bool = False) -> list[AnyChange]:
    """What the others write about `proposed`."""

    def fields(state: str) -> dict[str, object]:
        return {
            "event_id": f"{state}-{proposed.change_id}",
            "asset": ASSET,
            "at": at,
            "observed_at": proposed.observed_at,
            "trace_id": proposed.trace_id,
            "change_id": proposed.change_id,
        }

    action = proposed.action
    before: list[AnyChange] = [
        Simulated(**fields("simulated"), do_nothing=None, do_this=None),  # type: ignore[arg-type]
        Approved(**fields("approved"), approver="policy", reason="in range"),  # type: ignore[arg-type]
        Issued(**fields("issued"), command_sequence=1),  # type: ignore[arg-type]
    ]
    if refused:
        return [*before, Failed(**fields("failed"), guard="device", reason="BadOutOfRange")]  # type: ignore[arg-type]
    actual = "Held" if isinstance(action, Hold) else action.value
    return [*before, Applied(**fields("applied"), actual=actual, part_counter=counter)]  # type: ignore[arg-type]


def drift(number: int) -> Fault:
    return Fault(tau=1.0 - 0.0004 * max(0, number - 50))


@pytest.mark.parametrize("seed", range(50))
def test_healthy_parts_lead_to_no_proposal(seed: int) -> None:
    loop = Loop(seed).run(2000)
    assert not loop.of(Proposed)
    assert not loop.of(Alarm)


@pytest.mark.parametrize("seed", range(8))
def test_drift_of_the_window_is_followed_with_power_and_every_change_verifies(seed: int) -> None:
    loop = Loop(seed, drift).run(850)
    alone = Loop(seed, drift, policy=POLICY.model_copy(update={"mode": "off"})).run(850)
    bad, bad_alone = (sum(one > 55 for one in run.resistances) for run in (loop, alone))
    proposals = loop.of(Proposed)
    assert bad_alone > 200
    assert bad == 0
    assert 12 <= len(proposals) <= 60
    assert {one.diagnosis for one in proposals} == {Diagnosis.DIRTY_WINDOW}
    verified = {one.change_id for one in loop.of(Verified)}
    waiting = loop.station.in_flight
    assert {one.change_id for one in proposals} - verified <= ({waiting.change_id} if waiting else set())
    assert not loop.of(Inconclusive)
    assert max(loop.powers) <= 1350


def test_at_the_operators_limit_maintenance_is_called_for_once() -> None:
    loop = Loop(1, drift).run(1050)
    assert 1350 - POLICY.laser_power_w.deadband < loop.power_w <= 1350
    assert [one.code for one in loop.of(Alarm)] == [AlarmCode.WINDOW_MAINTENANCE]


def test_power_once_raised_stays_while_the_window_stays_as_dirty_as_it_is() -> None:
    loop = Loop(3, lambda number: Fault(tau=1.0 - 0.0004 * min(max(0, number - 50), 250))).run(1500)
    late = loop.powers[600:]
    assert max(late) - min(late) <= 25
    assert {one.diagnosis for one in loop.of(Proposed)} == {Diagnosis.DIRTY_WINDOW}
    assert not loop.of(Inconclusive)


@pytest.mark.parametrize("offset_mm", [-0.8, -0.5, -0.3, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_defocus_is_mended_with_focus_alone(offset_mm: float, seed: int) -> None:
    loop = Loop(seed, lambda number: Fault(defocus_mm=offset_mm if number > 50 else 0.0)).run(350)
    actions = [one.action for one in loop.of(Proposed)]
    assert actions
    assert all(isinstance(one, SetParameter) and one.parameter is Parameter.FOCUS_MM for one in actions)
    assert abs(loop.focus_mm + offset_mm) < 0.2
    assert sum(one > 55 for one in loop.resistances[150:]) == 0
    assert len(actions) <= math.ceil(abs(offset_mm) / 0.25) + 2


@pytest.mark.parametrize("seed", range(8))
def test_a_gap_holds_the_station_and_calls_a_person(seed: int) -> None:
    loop = Loop(seed, lambda number: Fault(plasma=0.4, extra_uohm=1500) if number > 50 else Fault()).run(200)
    assert [one.action for one in loop.of(Proposed)] == [
        Hold(reason="gap between the sheets: no setpoint closes it")
    ]
    assert [one.code for one in loop.of(Alarm)] == [AlarmCode.GAP]
    assert len(loop.resistances) <= 58


def test_a_gap_while_the_window_is_dirty_is_a_gap() -> None:
    def both(number: int) -> Fault:
        fault = drift(number)
        return Fault(tau=fault.tau, plasma=0.4, extra_uohm=1500) if number > 300 else fault

    loop = Loop(2, both).run(400)
    last = loop.of(Proposed)[-1]
    assert isinstance(last.action, Hold)
    assert len(loop.resistances) <= 312
    ended = {one.change_id for one in [*loop.of(Verified), *loop.of(Inconclusive)]}
    assert {one.change_id for one in loop.of(Proposed)} - ended == {last.change_id}


def test_refused_changes_are_tried_again_only_after_the_cooldown() -> None:
    loop = Loop(1, drift, refuse=True).run(400)
    proposals = loop.of(Proposed)
    assert len(proposals) >= 2
    assert Counter(one.code for one in loop.of(Alarm)) == {AlarmCode.CHANGE_FAILED: len(proposals)}
    assert not loop.of(Verified)
    at = [int(one.trace_id.removeprefix("trace-")) for one in proposals]
    assert all(after - before >= POLICY.cooldown.parts + loop.lag for before, after in pairwise(at))
    assert set(loop.powers) == {1000.0}


@pytest.mark.parametrize("seed", range(5))
def test_single_outliers_do_nothing(seed: int) -> None:
    def odd(number: int) -> Fault:
        wrong = [Fault(plasma=0.5), Fault(tau=0.9), Fault(defocus_mm=-0.5)]
        return wrong[number // 9 % 3] if number % 9 == 0 else Fault()

    loop = Loop(seed, odd).run(600)
    assert not loop.of(Proposed)


def test_folding_every_event_twice_changes_nothing() -> None:
    loop = Loop(5, drift).run(300)
    station, doubled = Station(asset=ASSET), []
    now = START
    for event in loop.folded:
        now = max(now, event.at)
        station, outcomes = decide(station, event, POLICY, now)
        doubled.extend(outcomes)
        before = station
        station, again = decide(station, event, POLICY, now)
        assert station == before
        assert all(isinstance(one, Ignored) for one in again)
    assert [one for one in doubled if isinstance(one, Proposed)] == loop.of(Proposed)
    assert station == loop.station
