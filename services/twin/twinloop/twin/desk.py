"""What persons decide: changes, modes, and giving an asset back. They are answered once Kafka has it."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from twinloop.contracts.controls import Governance, ModeRequested, OverrideCleared
from twinloop.contracts.ids import event_id, trace_id
from twinloop.contracts.modes import Mode
from twinloop.runtime.clock import Clock
from twinloop.twin.assets import TwinAssets
from twinloop.twin.calibrator import Calibrator
from twinloop.twin.consent import (
    endorser,
    promotes,
    refusal_of_mode,
    refusal_to_approve,
    refusal_to_veto,
)
from twinloop.twin.errors import Conflict, NotHere, NotKnown
from twinloop.twin.ledger import Change, Ledger
from twinloop.twin.recorder import Recorder

LedgerOf = Callable[[str], Ledger | None]
"""The ledger that an asset is in, when its partition is held here and has been read."""


class Desk:
    """All raise `NotKnown`, `NotHere`, `Conflict`, or `AuditAway` when nothing can be written down."""

    def __init__(
        self,
        assets: TwinAssets,
        ledgers: Callable[[], list[Ledger]],
        ledger_of: LedgerOf,
        calibrator: Calibrator,
        recorder: Recorder,
        clock: Clock,
    ) -> None:
        self._assets = assets
        self._ledgers = ledgers
        self._ledger_of = ledger_of
        self._calibrator = calibrator
        self._recorder = recorder
        self._clock = clock

    def find(self, change_id: str) -> Change:
        """A change that is open or ended lately."""
        for ledger in self._ledgers():
            if (change := ledger.find(change_id)) is not None:
                return change
        raise NotKnown(f"no change {change_id} is open or ended lately among the assets decided about here")

    async def approve(self, change_id: str, who: str, reason: str) -> Change:
        """Release a change, or endorse it while another person's agreement is missing."""
        ledger = self._held(self.find(change_id).proposed.asset)
        async with self._recorder.lock(ledger):
            change, asset = self._again(ledger, change_id)
            policy = self._assets.assets[asset].approval
            refused = refusal_to_approve(change, ledger.governance(asset), self._clock.now())
            if refused is not None:
                raise Conflict(f"change {change_id} cannot be approved: {refused}")
            endorsements = ledger.endorsements(change_id)
            other = endorser(change, endorsements, who, policy)
            if isinstance(other, str):
                if any(one.by == who for one in endorsements):
                    raise Conflict(f"you agreed with change {change_id} already: {other}")
                await self._recorder.endorse(ledger, change, who, reason)
            else:
                told = reason if other is None else f"{reason} (with {other.by}: {other.reason})"
                await self._recorder.release(ledger, change, who, told, policy.valid_s)
            return ledger.find(change_id) or change

    async def veto(self, change_id: str, who: str, reason: str) -> Change:
        """Reject a change that waits."""
        ledger = self._held(self.find(change_id).proposed.asset)
        async with self._recorder.lock(ledger):
            change, _ = self._again(ledger, change_id)
            if (refused := refusal_to_veto(change)) is not None:
                raise Conflict(f"change {change_id} cannot be vetoed: {refused}")
            await self._recorder.reject(ledger, change, who, reason)
            return ledger.find(change_id) or change

    def promotes(self, asset: str, mode: Mode) -> bool:
        """Whether `mode` is more than what is in force: that takes another role."""
        return promotes(self._held(asset).governance(asset), mode)

    async def request_mode(self, asset: str, mode: Mode, who: str, reason: str) -> Governance:
        """Ask for a mode; returns what was in force before. A lower one is in force when it is read, a higher
        one when the controller lets the asset in."""
        ledger = self._held(asset)
        governance = ledger.governance(asset)
        uncalibrated = self._calibrator.of(ledger, asset).problem
        if (refused := refusal_of_mode(governance, mode, uncalibrated)) is not None:
            raise Conflict(f"{asset} cannot go to {mode}: {refused}")
        now, token = self._clock.now(), uuid4().hex
        event = ModeRequested(
            event_id=event_id("mode_requested", asset, token),
            asset=asset,
            at=now,
            observed_at=now,
            trace_id=trace_id("mode_requested", asset, token),
            mode=mode,
            by=who,
            reason=reason,
        )
        await self._recorder.control(
            event,
            who=event.by,
            what="requested mode",
            old=str(governance.actual),
            new=str(mode),
            reason=reason,
        )
        return governance

    async def hand_back(self, asset: str, who: str, reason: str) -> Governance:
        """End an override; returns what was in force before. The mode stays as low as it is."""
        governance = self._held(asset).governance(asset)
        if not governance.manual:
            raise Conflict(f"{asset} is in nobody's hand: there is no override to end")
        now, token = self._clock.now(), uuid4().hex
        event = OverrideCleared(
            event_id=event_id("override_cleared", asset, token),
            asset=asset,
            at=now,
            observed_at=now,
            trace_id=trace_id("override_cleared", asset, token),
            by=who,
            reason=reason,
        )
        await self._recorder.control(
            event, who=event.by, what="handed back", old="manual", new=str(governance.actual), reason=reason
        )
        return governance

    def _held(self, asset: str) -> Ledger:
        if asset not in self._assets.assets:
            raise NotKnown(f"{asset} is not followed here; there are {', '.join(self._assets.assets)}")
        ledger = self._ledger_of(asset)
        if ledger is None:
            raise NotHere(
                f"this twin does not decide about {asset} at present: another member of the group holds its "
                "partition, or it is still being read. Ask that one, or again in some seconds."
            )
        return ledger

    def _again(self, ledger: Ledger, change_id: str) -> tuple[Change, str]:
        """The change as it is now that nobody else is at it, if its partition is still ours."""
        change = ledger.find(change_id)
        if change is None or self._held(change.proposed.asset) is not ledger:
            raise NotHere(f"change {change_id} went to another twin: ask that one")
        return change, change.proposed.asset
