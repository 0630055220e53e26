"""What the topics hold, as the verdict is given it. Pure."""

from __future__ import annotations

import msgspec

from twinloop.contracts.changes import AnyChange
from twinloop.contracts.controls import AnyControl
from twinloop.contracts.deadletters import DeadLetter
from twinloop.contracts.events import Alarm, Anomaly, JointWelded, Verdict
from twinloop.contracts.field import FieldFinding, VehicleBuilt


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the topics hold, in each partition's order."""

    joints: tuple[JointWelded, ...] = ()
    vehicles: tuple[VehicleBuilt, ...] = ()
    findings: tuple[FieldFinding, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    changes: tuple[AnyChange, ...] = ()
    controls: tuple[AnyControl, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
