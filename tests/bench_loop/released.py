"""The twin's part: what it has seen, what it forecasts and releases, and whether its forecasts come true.

Nobody sits at a screen: what a person would be asked about waits until it is too old, and is rejected then.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any

from support.process_models import process_model

from bench_loop.rules import ASSET, CONFIG
from twinloop.contracts.changes import AnyChange, Proposed, Rejected, Simulated, State
from twinloop.contracts.controls import AnyControl, ModeShed
from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import Frame
from twinloop.contracts.ids import event_id
from twinloop.contracts.modes import Mode
from twinloop.runtime.settings import load_toml
from twinloop.trust.keys import Signer
from twinloop.twin.approve import Answer
from twinloop.twin.assets import Asset, TwinAssets
from twinloop.twin.calibration import Joints, calibration
from twinloop.twin.decider import TOO_LATE
from twinloop.twin.judge import foresee, judge
from twinloop.twin.ledger import Change, Ledger
from twinloop.twin.observe import Observations
from twinloop.twin.process import ProcessModel
from twinloop.twin.release import envelope, released

Tell = Callable[[AnyChange | AnyControl], None]


@cache
def signer() -> Signer:
    """The twin's."""
    return Signer.generate()


@cache
def asset() -> Asset:
    """As the demo's twin is told of the station."""
    return load_toml(CONFIG / "twin.toml", TwinAssets).assets[ASSET]


@cache
def model() -> ProcessModel:
    """Identified from the trials of a commissioning at the simulated plant; always the same model."""
    return process_model()


class Twin:
    """Of one cell. `tell` publishes, and lets everybody fold."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._ledger = Ledger()
        self._seen = Observations({ASSET: asset().estimate.parts})
        self._joints = Joints([ASSET])
        self._releases = 0

    def fold(self, event: AnyChange | AnyControl) -> None:
        """An event of `changes`."""
        self._ledger.fold(event)

    def show(self, frame: Frame) -> None:
        """What the sensors showed of a part."""
        self._seen.show(frame)

    def made(self, joint: JointWelded, now: datetime) -> None:
        """What the genealogy says of it; what was applied before may be measured by now."""
        self._seen.made(joint)
        self._joints.made(joint)
        for change in self._ledger.unmeasured():
            assert change.applied is not None
            uohm = self._joints.measured(change.proposed, change.applied, asset().calibration.parts)
            if uohm is not None:
                self._ledger.measured(change, uohm)
        self._give_up(now)

    def _give_up(self, now: datetime) -> None:
        """AUTO, when the record is lost."""
        problem, governance = self._problem(), self._ledger.governance(ASSET)
        if problem is None or governance.actual is not Mode.AUTO:
            return
        self._tell(
            ModeShed(
                event_id=event_id("mode_shed", "twin", ASSET, governance.since),
                asset=ASSET,
                at=now,
                observed_at=now,
                trace_id="",
                mode=Mode.SUPERVISED,
                by="twin",
                reason=problem,
            )
        )

    def _problem(self) -> str | None:
        return calibration(self._ledger.outcomes(ASSET), asset().calibration).problem

    def decide(self, proposed: Proposed, now: datetime) -> bool:
        """Forecast, and release or reject; whether it is released."""
        forecasts = foresee(proposed, self._seen.of(ASSET), asset(), model(), now)
        do_nothing, do_this = forecasts if isinstance(forecasts, tuple) else (None, None)
        self._tell(Simulated(**_of(proposed, "simulated", now), do_nothing=do_nothing, do_this=do_this))
        governance = self._ledger.governance(ASSET)
        decision = judge(proposed, forecasts, asset(), governance, self._problem(), now)
        if decision.answer is Answer.RELEASE:
            self._releases += 1
            command = envelope(proposed, decision.by, self._releases, now, asset().approval.valid_s)
            self._tell(released(proposed, command, decision.reason, proposed.event_id, signer()))
            return True
        if decision.answer is Answer.REJECT:
            self._tell(
                Rejected(**_of(proposed, "rejected", now), approver=decision.by, reason=decision.reason)
            )
        return False

    def tidy(self, now: datetime) -> None:
        """Reject what nobody has decided on in time."""
        for change in [one for one in self._ledger.due() if _overdue(one, now)]:
            proposed = change.proposed
            self._tell(Rejected(**_of(proposed, "rejected", now), approver="policy:auto", reason=TOO_LATE))


def _overdue(change: Change, now: datetime) -> bool:
    return change.state is State.SIMULATED and now >= change.proposed.expires_at


def _of(proposed: Proposed, state: str, now: datetime) -> dict[str, Any]:
    """What the events of a change say alike."""
    return {
        "event_id": event_id(state, proposed.change_id),
        "asset": ASSET,
        "at": now,
        "observed_at": proposed.observed_at,
        "trace_id": proposed.trace_id,
        "change_id": proposed.change_id,
    }
