"""The shadow of an asset: what it reports, what is wanted of it, and what is on its way. Pure.

A fold over the same log as everything else, so it is the same after a restart. The newest joint says what was
in force while it was made; what `line` read back says the same of a moment; the later of both is reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Approved,
    Expired,
    Failed,
    Parameter,
    Proposed,
    SetParameter,
    State,
)
from twinloop.contracts.controls import AnyControl, Governance, Overridden
from twinloop.contracts.events import JointWelded
from twinloop.contracts.modes import Mode
from twinloop.twin.calibration import setpoint


@dataclass(frozen=True, slots=True)
class Reported:
    """What a setpoint was at `at`. `by` is a change's id, `operator`, or `joint`."""

    value: float
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Desired:
    """What a setpoint should be. `by` is the id of the change that was released, or `operator`."""

    value: float
    by: str


@dataclass(slots=True)
class Shadow:
    """One asset, as far as the log of changes tells."""

    reported: dict[Parameter, Reported] = field(default_factory=dict)
    desired: dict[Parameter, Desired] = field(default_factory=dict)
    _before: dict[str, Desired | None] = field(default_factory=dict)
    """What was desired before a release that is on its way, by change id."""

    def change(self, event: AnyChange, proposed: Proposed) -> None:
        """Fold an event of a change that followed from its state."""
        action = proposed.action
        if not isinstance(action, SetParameter):
            return
        parameter = action.parameter
        if isinstance(event, Approved):
            self._before[event.change_id] = self.desired.get(parameter)
            self.desired[parameter] = Desired(action.value, event.change_id)
        elif isinstance(event, Applied):
            self._before.pop(event.change_id, None)
            if isinstance(event.actual, int | float):
                self.reported[parameter] = Reported(float(event.actual), event.at, event.change_id)
        elif isinstance(event, Failed | Expired) and event.change_id in self._before:
            before, now = self._before.pop(event.change_id), self.desired.get(parameter)
            if now is None or now.by != event.change_id:
                return  # something later is desired
            if before is None:
                del self.desired[parameter]
            else:
                self.desired[parameter] = before

    def control(self, event: AnyControl) -> None:
        """Fold a control event: what an operator sets by hand is what is wanted."""
        if isinstance(event, Overridden):
            self.reported[event.parameter] = Reported(event.value, event.observed_at, "operator")
            self.desired[event.parameter] = Desired(event.value, "operator")


@dataclass(frozen=True, slots=True)
class InFlight:
    """The change on its way."""

    change_id: str
    state: State
    waits_for: str | None
    """Why a person decides about it, if one does."""


@dataclass(frozen=True, slots=True)
class ShadowOf:
    """A shadow at a moment, with what governs the asset. Compared without the times of reports."""

    asset: str
    reported: dict[Parameter, Reported]
    desired: dict[Parameter, Desired]
    in_flight: InFlight | None
    requested: Mode
    actual: Mode
    killed: bool
    manual: bool
    pending: bool
    why: str

    def differs(self, other: ShadowOf | None) -> bool:
        """Whether anything but the time of a report is new."""
        return other is None or self._told() != other._told()

    def _told(self) -> tuple[object, ...]:
        reported = {name: one.value for name, one in self.reported.items()}
        return (
            reported,
            self.desired,
            self.in_flight,
            self.requested,
            self.actual,
            self.killed,
            self.manual,
            self.pending,
            self.why,
        )


def shadow_of(
    asset: str,
    shadow: Shadow,
    governance: Governance,
    in_flight: InFlight | None,
    newest: JointWelded | None,
) -> ShadowOf:
    """The shadow with the newest joint laid over what was read back before it."""
    reported = dict(shadow.reported)
    if newest is not None:
        for parameter in Parameter:
            known = reported.get(parameter)
            if known is None or newest.observed_at > known.at:
                reported[parameter] = Reported(setpoint(newest, parameter), newest.observed_at, "joint")
    return ShadowOf(
        asset=asset,
        reported=reported,
        desired=dict(shadow.desired),
        in_flight=in_flight,
        requested=governance.requested,
        actual=governance.actual,
        killed=governance.killed,
        manual=governance.manual,
        pending=governance.pending is not None,
        why=governance.why,
    )
