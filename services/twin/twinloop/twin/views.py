"""What the twin tells over HTTP: the shapes of requests and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from twinloop.contracts.changes import Forecast, Parameter, State, state_of
from twinloop.contracts.modes import Mode
from twinloop.twin.calibration import Calibration
from twinloop.twin.ledger import Change, Ledger
from twinloop.twin.shadow import ShadowOf


class View(BaseModel):
    """What every answer is made of."""

    model_config = ConfigDict(frozen=True)


class ForecastView(View):
    """Resistance over the next parts, in micro-ohm: expected value and 95 % interval of single parts.
    `scrap`: how likely one is above the limit."""

    expected_uohm: float
    low_uohm: float
    high_uohm: float
    scrap: float


class StateView(View):
    """A state that a change went through, and when."""

    state: State
    at: datetime


class EndorsementView(View):
    """Who agreed with a change that needs two persons."""

    by: str
    reason: str
    at: datetime


class ChangeView(View):
    """A change: what is proposed, what the twin forecasts, and what became of it."""

    change_id: str
    asset: str
    action: dict[str, Any] = Field(description="set_parameter (parameter, value, expected) or hold (reason)")
    mode: Mode = Field(description="in force when it was proposed")
    rollback_of: str | None
    diagnosis: str
    reason: str
    expires_at: datetime = Field(description="who decides must do so before")
    state: State
    states: list[StateView]
    do_nothing: ForecastView | None
    do_this: ForecastView | None
    waits_for: str | None = Field(description="why a person decides, while one must")
    endorsed: list[EndorsementView]
    decided_by: str | None
    decision: str | None = Field(description="the reason that was given")


class ReportedView(View):
    """A setpoint as it was at a moment: read back after a change, set by an operator, or shown by a joint."""

    value: float
    at: datetime
    by: str


class DesiredView(View):
    """A setpoint as it should be: `by` the change that was released last, or an operator."""

    value: float
    by: str


class InFlightView(View):
    """The change on its way."""

    change_id: str
    state: State
    waits_for: str | None


class ModeView(View):
    """What governs an asset. `requested` and `actual` are kept apart."""

    requested: Mode
    actual: Mode
    killed: bool
    manual: bool
    pending: bool
    why: str


class ShadowView(View):
    """The shadow of an asset, as far as the log of changes and the newest joint tell."""

    asset: str
    reported: dict[Parameter, ReportedView]
    desired: dict[Parameter, DesiredView]
    in_flight: InFlightView | None
    mode: ModeView


class CalibrationView(View):
    """How the last forecasts came true. `problem`: why the twin may not release by itself."""

    outcomes: int
    coverage: float | None
    bias_uohm: float | None
    problem: str | None


class AssetView(View):
    """One asset. `shadow` and `calibration` are told by the member that decides about it."""

    asset: str
    process: str
    process_version: int | None
    problem: str | None = Field(description="why there is no process model, if there is none")
    decided_here: bool
    parts: int = Field(description="observed lately, and used for the estimate")
    newest_sequence: int | None
    newest_at: datetime | None
    resistance_uohm: float | None
    power_w: float | None
    focus_mm: float | None
    transmission: float | None
    focus_error_mm: float | None
    unexplained_plasma: float | None
    gap_suspected: bool | None
    shadow: ShadowView | None
    calibration: CalibrationView | None


class ModeAnswer(View):
    """A mode was requested. `actual` was in force then; a lower one is in force as soon as it is read."""

    asset: str
    requested: Mode
    actual: Mode


class HandBackAnswer(View):
    """An override is ended. The mode stays as low as it is until a person promotes."""

    asset: str
    actual: Mode


Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class Because(BaseModel):
    """A reason is part of every act."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


class ModeWanted(Because):
    """A mode, and why."""

    mode: Mode


def change_view(change: Change, ledger: Ledger | None, waits_for: str | None) -> ChangeView:
    """`ledger` knows who endorsed it."""
    proposed = change.proposed
    decided = next((one for one in change.steps if hasattr(one, "approver")), None)
    endorsed = () if ledger is None else ledger.endorsements(proposed.change_id)
    return ChangeView(
        change_id=proposed.change_id,
        asset=proposed.asset,
        action=msgspec.to_builtins(proposed.action),
        mode=proposed.mode,
        rollback_of=proposed.rollback_of,
        diagnosis=proposed.diagnosis,
        reason=proposed.reason,
        expires_at=proposed.expires_at,
        state=change.state,
        states=[StateView(state=state_of(step), at=step.at) for step in change.steps],
        do_nothing=_forecast(change.do_nothing),
        do_this=_forecast(change.do_this),
        waits_for=waits_for,
        endorsed=[EndorsementView(by=one.by, reason=one.reason, at=one.at) for one in endorsed],
        decided_by=getattr(decided, "approver", None),
        decision=getattr(decided, "reason", None),
    )


def _forecast(one: Forecast | None) -> ForecastView | None:
    return None if one is None else ForecastView.model_validate(msgspec.to_builtins(one))


def shadow_view(one: ShadowOf) -> ShadowView:
    """A shadow, to be told."""
    flight = one.in_flight
    return ShadowView(
        asset=one.asset,
        reported={
            name: ReportedView(value=seen.value, at=seen.at, by=seen.by)
            for name, seen in one.reported.items()
        },
        desired={name: DesiredView(value=want.value, by=want.by) for name, want in one.desired.items()},
        in_flight=None
        if flight is None
        else InFlightView(change_id=flight.change_id, state=flight.state, waits_for=flight.waits_for),
        mode=ModeView(
            requested=one.requested,
            actual=one.actual,
            killed=one.killed,
            manual=one.manual,
            pending=one.pending,
            why=one.why,
        ),
    )


def calibration_view(one: Calibration) -> CalibrationView:
    """A record, to be told."""
    return CalibrationView(
        outcomes=one.outcomes, coverage=one.coverage, bias_uohm=one.bias_uohm, problem=one.problem
    )
