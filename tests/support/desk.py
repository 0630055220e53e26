"""One station at the controller's desk, for its tests: events go in, what came of them is kept. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from msgspec.structs import replace as changed

from support.weldloop import ASSET, POLICY, START, anomaly, joint, life, requested
from twinloop.contracts.changes import ChangeEvent, Proposed, SetParameter
from twinloop.contracts.controls import ControlEvent
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.modes import Mode
from twinloop.controller.policy import AssetPolicy
from twinloop.controller.state import Outcome, Station
from twinloop.controller.station import StationEvent, decide

T = TypeVar("T")


@dataclass
class Desk:
    """A station, a clock, and what came of it so far. What the controller publishes is read back at once."""

    policy: AssetPolicy = POLICY
    station: Station = field(default_factory=lambda: Station(asset=ASSET))
    outcomes: list[Outcome] = field(default_factory=list)
    away: str | None = None
    power_w: float = 1000.0
    recipe: str = POLICY.recipe or ""

    def __post_init__(self) -> None:
        self.now = START
        self.number = 0

    def fold(self, event: StationEvent) -> list[Outcome]:
        self.station, came = decide(self.station, event, self.policy, self.now, self.away)
        self.outcomes.extend(came)
        for one in came:
            if isinstance(one, ChangeEvent | ControlEvent):
                self.fold(one)  # type: ignore[arg-type]
        return list(came)

    def of(self, kind: type[T]) -> list[T]:
        return [one for one in self.outcomes if isinstance(one, kind)]

    def codes(self) -> list[AlarmCode]:
        return [one.code for one in self.of(Alarm)]

    def parts(self, count: int, *, dirty: bool = False, uohm: float | None = None, **what: Any) -> Desk:
        """So many parts are made; `dirty` ones are anomalous, too. `uohm` with some noise."""
        for _ in range(count):
            self.now += timedelta(milliseconds=100)
            self.number += 1
            measured = (42.0 if uohm is None else uohm) + 0.5 * (self.number % 3)
            self.fold(changed(joint(self.number, self.now, measured, self.power_w), recipe=self.recipe))
            if dirty:
                self.dirty(**what)
        return self

    def dirty(self, depth_mm: float | None = None, **what: Any) -> None:
        """The newest part's window absorbs a tenth of the power, unless `what` says otherwise."""
        ratio = self.power_w / 1000.0
        usual = 0.42 + 0.75 * (ratio - 1.0) + 0.001 * (self.number % 3)
        depth = usual if depth_mm is None else depth_mm
        features = {"oct_depth_mm.mean": depth, "back_reflection.mean": 0.81 * ratio}
        deviations = {
            "oct_depth_mm.mean": -9.5,
            "back_reflection.mean": -18.0,
            "window_temperature_c.mean": 15.0 * ratio,
            "plasma.mean": -5.0,
            **what.pop("deviations", {}),
        }
        self.fold(changed(anomaly(self.number, self.now, features, deviations), **what))

    def promoted(self, mode: Mode = Mode.AUTO) -> Desk:
        for step in (Mode.SUPERVISED, Mode.AUTO):
            if step.rank <= mode.rank:
                self.fold(requested(step, self.now, 100 + len(self.outcomes)))
        assert self.station.governance.actual is mode
        return self

    def ready(self, mode: Mode = Mode.AUTO) -> Desk:
        """Twelve good parts, and `mode`."""
        return self.parts(12).promoted(mode)

    def applied(self, proposed: Proposed) -> Desk:
        for event in life(proposed, self.now, self.number):
            self.fold(event)
        if isinstance(proposed.action, SetParameter):
            self.power_w = proposed.action.value
        return self

    def changed(self) -> Proposed:
        """A change was proposed and applied."""
        self.parts(4, dirty=True)
        proposed = self.of(Proposed)[-1]
        self.applied(proposed)
        return proposed
