"""Brings changes from proposed to approved or rejected, or to a person."""

from __future__ import annotations

from collections.abc import Callable

from twinloop.audit.errors import AuditAway
from twinloop.contracts.changes import Hold, State
from twinloop.contracts.events import AlarmCode
from twinloop.contracts.modes import Mode
from twinloop.runtime.clock import Clock
from twinloop.twin.approve import APPROVER, Answer, Forecasts, Hopeless, forbidden, in_force
from twinloop.twin.assets import Asset, TwinAssets
from twinloop.twin.calibrator import Calibrator
from twinloop.twin.judge import foresee, judge
from twinloop.twin.ledger import Change, Ledger
from twinloop.twin.metrics import Metrics
from twinloop.twin.models import Processes
from twinloop.twin.observe import Observations
from twinloop.twin.recorder import Recorder

TOO_LATE = "nobody decided in time"


class Decider:
    """`holds` tells whether a ledger's partition is still ours: a rebalance may take it away at any wait."""

    def __init__(
        self,
        assets: TwinAssets,
        processes: Processes,
        observations: Observations,
        calibrator: Calibrator,
        recorder: Recorder,
        holds: Callable[[Ledger], bool],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._assets = assets
        self._processes = processes
        self._observations = observations
        self._calibrator = calibrator
        self._recorder = recorder
        self._holds = holds
        self._clock = clock
        self._metrics = metrics
        self._asked: dict[str, str] = {}
        self._alarmed: set[str] = set()

    def waits_for(self, change_id: str) -> str | None:
        """Why a person decides about a change, if one does."""
        return self._asked.get(change_id)

    def tidy(self, due: set[str]) -> None:
        """Forget what is not due any more."""
        for gone in self._asked.keys() - due:
            del self._asked[gone]
        self._alarmed &= due

    async def decide(self, change_id: str, ledger: Ledger) -> None:
        """Take one change further, if it is still due and nobody else is at it."""
        async with self._recorder.lock(ledger):
            change = ledger.find(change_id)
            if change is None or change.state not in (State.PROPOSED, State.SIMULATED):
                return
            asset = self._assets.assets.get(change.proposed.asset)
            if asset is None or not self._holds(ledger):
                return  # another twin's
            try:
                await self._decide(change, ledger, asset)
            except AuditAway:
                await self._nothing_is_released(change)

    async def _decide(self, change: Change, ledger: Ledger, asset: Asset) -> None:
        if self._recorder.problem() is not None:
            await self._nothing_is_released(change)
            return
        proposed = change.proposed
        governance = ledger.governance(proposed.asset)
        if change.state is State.SIMULATED and self._clock.now() >= proposed.expires_at:
            await self._recorder.reject(ledger, change, APPROVER, TOO_LATE)
            return
        if proposed.change_id in self._asked:
            if (why := forbidden(proposed, governance)) is not None:
                await self._recorder.reject(ledger, change, APPROVER, why)
            return
        forecasts = self._forecasts(change, asset)
        if change.state is State.PROPOSED:
            both = forecasts if isinstance(forecasts, tuple) else (None, None)
            await self._recorder.simulated(ledger, change, *both)
            # What was read meanwhile counts: nothing is released on a mode that is over.
            change, governance = ledger.find(proposed.change_id) or change, ledger.governance(proposed.asset)
        uncalibrated = self._calibrator.of(ledger, proposed.asset).problem
        decision = judge(proposed, forecasts, asset, governance, uncalibrated, self._clock.now())
        if decision.answer is Answer.RELEASE:
            if self._holds(ledger):
                valid_s = asset.approval.valid_s
                await self._recorder.release(ledger, change, decision.by, decision.reason, valid_s)
        elif decision.answer is Answer.REJECT:
            await self._recorder.reject(ledger, change, decision.by, decision.reason)
        else:
            await self._ask(change, decision.reason, in_force(proposed, governance))

    def _forecasts(self, change: Change, asset: Asset) -> Forecasts:
        if change.do_nothing is not None and change.do_this is not None:
            return change.do_nothing, change.do_this
        with self._metrics.forecast_seconds.time():
            forecasts = foresee(
                change.proposed,
                self._observations.of(change.proposed.asset),
                asset,
                self._processes.of(asset.process),
                self._clock.now(),
            )
        if change.state is State.PROPOSED or isinstance(forecasts, Hopeless):
            return forecasts
        if isinstance(change.proposed.action, Hold):
            return None
        # It was simulated without one before a restart: nothing is released on what nobody can read.
        return forecasts if isinstance(forecasts, str) else "there was none when it was simulated"

    async def _ask(self, change: Change, why: str, mode: Mode) -> None:
        """Leave it to a person. In AUTO nobody is watching, so one is called."""
        proposed = change.proposed
        if mode is Mode.AUTO:
            left_s = max(0.0, (proposed.expires_at - self._clock.now()).total_seconds())
            text = f"{why}. Approve or veto change {proposed.change_id} within {left_s:.0f} s."
            await self._recorder.alarm(
                proposed.asset, AlarmCode.PERSON_NEEDED, text, change, proposed.change_id
            )
        self._metrics.asked.labels(mode).inc()
        self._asked[proposed.change_id] = why

    async def _nothing_is_released(self, change: Change) -> None:
        proposed = change.proposed
        if proposed.change_id in self._alarmed:
            return
        self._metrics.refusals.labels("audit").inc()
        text = (
            f"the audit store of the twin is away ({self._recorder.problem()}): no change is decided. "
            "Look at its disk."
        )
        await self._recorder.alarm(proposed.asset, AlarmCode.AUDIT_AWAY, text, change, proposed.change_id)
        self._alarmed.add(proposed.change_id)
