"""A small welding process, the line and the clock around the controller's `decide`: for its tests, no I/O.

The process is a toy: depth is linear in coupled power, and a controller that works only on it would still be
wrong. It is here because a loop shows what single decisions hide: wind-up, hunting, repeated changes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Approved,
    ChangeEvent,
    Envelope,
    Failed,
    Hold,
    Issued,
    Parameter,
    Proposed,
    Simulated,
)
from twinloop.contracts.controls import ControlEvent, ModeRequested
from twinloop.contracts.events import Anomaly, JointWelded
from twinloop.contracts.modes import Mode
from twinloop.controller.policy import AssetPolicy, ControllerPolicy
from twinloop.controller.state import Outcome, Station
from twinloop.controller.station import StationEvent, decide
from twinloop.runtime.settings import load_toml

T = TypeVar("T")

ASSET = "acme.berlin.packs.line1.weld1"
START = datetime(2026, 1, 1, tzinfo=UTC)
SHIPPED = Path(__file__).parents[2] / "deploy/local/config/controller.toml"
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
    factor: float = 1.0
    depth_bias_mm: float = 0.0


@dataclass
class Loop:
    """The toy process, the line and the clock around `decide`.

    `lag` parts pass between a proposal and its being applied; `refuse` lets the device refuse every write.
    After the first part a person promotes the asset to `mode`, step by step.
    """

    seed: int
    fault: Callable[[int], Fault] = lambda _: Fault()
    policy: AssetPolicy = POLICY
    lag: int = 2
    refuse: bool = False
    mode: Mode = Mode.AUTO
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
            if number == 1:
                self.promote(self.mode)
            self._line(number)
        return self

    def promote(self, mode: Mode) -> None:
        for step in (Mode.SUPERVISED, Mode.AUTO):
            if step.rank <= mode.rank:
                self.fold(requested(step, self.now))

    def of(self, kind: type[T]) -> list[T]:
        return [one for one in self.outcomes if isinstance(one, kind)]

    def fold(self, event: StationEvent) -> None:
        self.folded.append(event)
        self.station, outcomes = decide(self.station, event, self.policy, self.now)
        self.outcomes.extend(outcomes)
        for one in outcomes:
            if isinstance(one, ChangeEvent | ControlEvent):
                self.fold(one)  # type: ignore[arg-type]  # it comes back through the topic

    def _weld(self, number: int) -> None:
        self.now += timedelta(milliseconds=50)
        fault, gauss = self.fault(number), self.random.gauss
        z_mm, ratio = fault.defocus_mm + self.focus_mm, fault.factor * self.power_w / 1000.0
        q = fault.tau * ratio * (1 + gauss(0, 0.01)) * (1 + (z_mm / 1.2) ** 2) ** -0.75
        depth = max(0.0, 0.5 * (q - 0.4) / 0.6)
        width = min(1.4, math.sqrt(max(0.0, depth - 0.3) / 0.2))
        uohm = 30 + 12 / max(width, 0.008) + 400 * max(0, depth - 0.68) + fault.extra_uohm
        features = {
            "oct_depth_mm.mean": depth + fault.depth_bias_mm + gauss(0, 0.0012),
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
        self.fold(joint(number, self.now, uohm + gauss(0, 2.0), self.power_w, self.focus_mm))
        if max(map(abs, deviations.values())) > self.threshold:
            self.fold(anomaly(number, self.now, features, deviations))

    def _line(self, number: int) -> None:
        for one in self.outcomes:
            if isinstance(one, Proposed) and one.change_id not in {p.change_id for _, p in self.due}:
                self.due.append((number + self.lag, one))
        for when, proposed in self.due:
            if when == number:
                for event in life(proposed, self.now, number, refused=self.refuse):
                    self.fold(event)
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
        recipe=POLICY.recipe or "",
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


def requested(mode: Mode, at: datetime, number: int = 1) -> ModeRequested:
    """A person asks for `mode`."""
    return ModeRequested(
        event_id=f"request-{mode}-{number}",
        asset=ASSET,
        at=at,
        observed_at=at,
        trace_id="r" * 32,
        mode=mode,
        by="person:eva",
        reason="after a look at the shadow",
    )


def released(proposed: Proposed, at: datetime) -> dict[str, Any]:
    """What `Approved` carries, apart from what each event does. The controller verifies no signature."""
    envelope = Envelope(
        command_id=proposed.change_id,
        asset=proposed.asset,
        action=proposed.action,
        unit="W",
        recipe=proposed.recipe,
        sequence=1,
        issued_at=at,
        expires_at=at + timedelta(seconds=5),
        model=proposed.model,
        model_version=proposed.model_version,
        input_digest=proposed.input_digest,
        mode=proposed.mode,
        approver="policy:test",
        rollback_of=proposed.rollback_of,
    )
    return {
        "approver": "policy:test",
        "reason": "in range",
        "envelope": envelope,
        "signature": "",
        "key_id": "",
    }


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
        Approved(**fields("approved"), **released(proposed, at)),  # type: ignore[arg-type]
        Issued(**fields("issued"), command_sequence=1),  # type: ignore[arg-type]
    ]
    if refused:
        return [*before, Failed(**fields("failed"), guard="device", reason="BadOutOfRange")]  # type: ignore[arg-type]
    actual = "Held" if isinstance(action, Hold) else action.value
    return [*before, Applied(**fields("applied"), actual=actual, part_counter=counter)]  # type: ignore[arg-type]
