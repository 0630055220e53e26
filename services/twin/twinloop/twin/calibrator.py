"""Keeps the twin's own record: measures outcomes, tells the metrics, and gives up AUTO when it is lost."""

from __future__ import annotations

from twinloop.audit.errors import AuditAway
from twinloop.contracts.controls import ModeShed
from twinloop.contracts.events import AlarmCode
from twinloop.contracts.ids import event_id
from twinloop.contracts.modes import Mode
from twinloop.runtime.clock import Clock
from twinloop.runtime.observability import logging
from twinloop.twin.assets import TwinAssets
from twinloop.twin.calibration import Calibration, Joints, calibration
from twinloop.twin.ledger import Ledger
from twinloop.twin.metrics import Metrics
from twinloop.twin.recorder import SOURCE, Recorder

log = logging.logger(__name__)


class Calibrator:
    """Of the assets in `assets`, whose outcomes are in the ledgers."""

    def __init__(
        self, assets: TwinAssets, joints: Joints, recorder: Recorder, clock: Clock, metrics: Metrics
    ) -> None:
        self._assets = assets
        self._joints = joints
        self._recorder = recorder
        self._clock = clock
        self._metrics = metrics
        self._known: dict[str, tuple[Ledger, int, Calibration]] = {}
        self._shed: set[str] = set()

    def of(self, ledger: Ledger, asset: str) -> Calibration:
        """The record of `asset`, one that is followed."""
        known, told = self._known.get(asset), ledger.told(asset)
        if known is not None and known[0] is ledger and known[1] == told:
            return known[2]
        found = calibration(ledger.outcomes(asset), self._assets.assets[asset].calibration)
        self._known[asset] = (ledger, told, found)
        self._metrics.calibration(asset, found)
        return found

    def measure(self, ledger: Ledger) -> None:
        """Look whether enough parts were made after what was applied."""
        for change in ledger.unmeasured():
            proposed, applied = change.proposed, change.applied
            policy = self._assets.assets.get(proposed.asset)
            if policy is None or applied is None:
                continue
            uohm = self._joints.measured(proposed, applied, policy.calibration.parts)
            if uohm is None or (outcome := ledger.measured(change, uohm)) is None:
                continue
            self._metrics.outcomes.labels("within" if outcome.covered else "outside").inc()
            log.info(
                "outcome",
                asset=proposed.asset,
                change=proposed.change_id,
                measured_uohm=round(uohm, 2),
                expected_uohm=round(outcome.forecast.expected_uohm, 2),
                covered=outcome.covered,
            )

    async def shed(self, ledger: Ledger, asset: str) -> None:
        """Give up AUTO if the record of `asset` is lost. Once for each time that it was entered."""
        governance = ledger.governance(asset)
        problem = self.of(ledger, asset).problem
        if problem is None or governance.actual is not Mode.AUTO:
            return
        if self._recorder.problem() is not None:
            return  # nothing is released meanwhile
        cause = governance.since or ""
        shed_id = event_id("mode_shed", SOURCE, asset, cause)
        if shed_id in self._shed:
            return  # published, and not read yet
        now = self._clock.now()
        event = ModeShed(
            event_id=shed_id,
            asset=asset,
            at=now,
            observed_at=now,
            trace_id="",
            caused_by=governance.since,
            mode=Mode.SUPERVISED,
            by=SOURCE,
            reason=f"the twin's calibration is lost: {problem}",
        )
        try:
            await self._recorder.control(
                event,
                who=SOURCE,
                what="shed",
                old=str(Mode.AUTO),
                new=str(Mode.SUPERVISED),
                reason=event.reason,
            )
        except AuditAway:
            return  # it is tried again
        text = (
            f"forecasts do not come true: {problem}. Changes wait for a person. Compare the process model"
            " with the station, then promote again."
        )
        await self._recorder.alarm(asset, AlarmCode.TWIN_DRIFT, text, None, cause)
        self._shed.add(shed_id)
