"""One proposed change: forecast, then decided. Top to bottom, for whoever asks what the twin does."""

from __future__ import annotations

from datetime import datetime

from twinloop.contracts.changes import Forecast, Hold, Proposed
from twinloop.contracts.controls import Governance
from twinloop.twin.approve import (
    APPROVER,
    UNFORESEEN,
    Answer,
    Decision,
    Forecasts,
    Hopeless,
    answer,
    forbidden,
    in_force,
    no_forecast,
    outside,
)
from twinloop.twin.assets import Asset
from twinloop.twin.estimate import newest_state, unexplained_plasma
from twinloop.twin.observe import Observed
from twinloop.twin.process import ProcessModel
from twinloop.twin.whatif import changed, forecast, invalid

_CLOCK_SKEW_S = 1.0


def foresee(
    proposed: Proposed, seen: Observed, asset: Asset, model: ProcessModel | str, now: datetime
) -> tuple[Forecast, Forecast] | str | None:
    """Forecasts without and with the change; `None` for a hold; or why there is none, `Hopeless` when
    nobody's agreement would mend it.

    `model` is the asset's process model, or why there is none: then a person decides.
    Pure but for `seen`, which grows while parts are made.
    """
    if isinstance(proposed.action, Hold):
        return None
    if (refused := outside(proposed.action, asset.approval)) is not None:
        return Hopeless(refused)
    if proposed.action.parameter in UNFORESEEN:
        return no_forecast(proposed.action)
    if isinstance(model, str):
        return model
    at, parts = seen.newest_setpoints, list(seen.parts.values())
    if at is None or len(parts) < asset.estimate.minimum:
        return f"{len(parts)} parts were observed, {asset.estimate.minimum} are needed for a forecast"
    age_s = (now - seen.newest_at).total_seconds() if seen.newest_at is not None else float("inf")
    if age_s > asset.estimate.stale_s:
        return f"the newest part was observed {age_s:.1f} s ago"
    if age_s < -_CLOCK_SKEW_S:
        return f"the newest part was observed {-age_s:.1f} s in the future: a clock is wrong"
    state = newest_state(model, parts, asset.estimate.minimum)
    if state is None:
        return f"no state of the process explains the last {asset.estimate.minimum} parts"
    excess = unexplained_plasma(model, state, parts[-asset.estimate.minimum :])
    if excess > asset.estimate.gap_plasma:
        return Hopeless(
            f"plasma is {excess:.2f} above what the energy explains: a gap, and no setpoint closes it"
        )
    then, limit = changed(at, proposed.action), asset.approval.limit_uohm
    if (refused := invalid(model, state, at) or invalid(model, state, then)) is not None:
        return f"model_validity: {refused}"
    do_nothing, do_this = forecast(model, state, at, limit), forecast(model, state, then, limit)
    return do_nothing, do_this


def judge(
    proposed: Proposed,
    forecasts: Forecasts,
    asset: Asset,
    governance: Governance,
    uncalibrated: str | None,
    now: datetime,
) -> Decision:
    """Release, ask a person, or reject, at `now`, under what governs the asset."""
    if now >= proposed.expires_at:
        return Decision(Answer.REJECT, "it expired before it could be judged")
    if (why := forbidden(proposed, governance)) is not None:
        return Decision(Answer.REJECT, why, APPROVER)
    return answer(proposed, forecasts, asset.approval, in_force(proposed, governance), uncalibrated)
