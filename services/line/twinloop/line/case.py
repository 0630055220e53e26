"""What the guards decide on: a command that was released, and all that speaks for or against it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from twinloop.contracts.changes import Envelope, SetParameter
from twinloop.contracts.modes import Mode, lower
from twinloop.line.envelope import Objection
from twinloop.line.limits import StationLimits
from twinloop.line.plc import Device
from twinloop.line.standing import Last, Standing


@dataclass(frozen=True, slots=True)
class Case:
    """`objection` is what the envelope's check said, `stopped` what has shed the mode since the proposal.
    `link`, `killed` and `audit` say why the heartbeat, the kill switch and the audit store forbid it."""

    envelope: Envelope
    device: Device
    standing: Standing
    limits: StationLimits
    now: datetime
    objection: Objection | None = None
    stopped: str | None = None
    link: str | None = None
    killed: str | None = None
    audit: str | None = None

    @property
    def effective(self) -> Mode:
        """The mode in force, under this service's own ceiling."""
        return lower(self.standing.governance.actual, self.limits.highest_mode)

    @property
    def taken_back(self) -> Last | None:
        """What the command takes back: what was last applied to its parameter, by the log and not by the
        command's word alone. `None` when it is no rollback of that."""
        action = self.envelope.action
        if self.envelope.rollback_of is None or not isinstance(action, SetParameter):
            return None
        last = self.standing.applied.get(action.parameter)
        return last if last is not None and last.change_id == self.envelope.rollback_of else None
