"""A line in memory for tests: what its log says, released and signed, and a device that obeys or does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry

from twinloop.audit.errors import AuditAway
from twinloop.contracts.audit import AuditEntry
from twinloop.contracts.changes import (
    UNIT,
    Action,
    Approved,
    Diagnosis,
    Envelope,
    Hold,
    Parameter,
    Proposed,
    SetParameter,
    Simulated,
    signing_bytes,
)
from twinloop.contracts.codec import decode
from twinloop.contracts.controls import ModeEntered, ModeRequested
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import ALARMS, CHANGES
from twinloop.line.carry import Carrier
from twinloop.line.fake import FakePlc
from twinloop.line.ledger import Ledger
from twinloop.line.limits import Cooldown, ParameterLimits, Range, StationLimits
from twinloop.line.metrics import Metrics
from twinloop.line.notices import Notices
from twinloop.line.plc import EXECUTE, REMOTE, Device
from twinloop.line.restart import Admission
from twinloop.line.tell import Teller
from twinloop.line.vigil import Vigil
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka.clients import MemoryPublisher
from twinloop.trust.keys import Signer, Trusted

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ASSET = "acme.berlin.packs.line1.weld1"
RECIPE = "cu-al-tab-7"
SIGNER = Signer.generate()
LIMITS = StationLimits(
    station="weld1",
    recipe=RECIPE,
    highest_mode=Mode.AUTO,
    beat_s=0.5,
    laser_power_w=ParameterLimits(
        hard=Range(low=800, high=1400),
        operator=Range(low=850, high=1350),
        baseline=1000,
        step=30,
        hourly_travel=800,
        authority=350,
        deadband=5,
        tolerance=0.5,
    ),
    focus_mm=ParameterLimits(
        hard=Range(low=-2, high=2),
        operator=Range(low=-1.5, high=1.5),
        baseline=0,
        step=0.25,
        hourly_travel=6,
        authority=1.5,
        deadband=0.05,
        tolerance=0.005,
    ),
    end_of_line_limit_uohm=ParameterLimits(
        hard=Range(low=42, high=60),
        operator=Range(low=45, high=55),
        baseline=55,
        step=15,
        hourly_travel=30,
        authority=15,
        deadband=1,
        tolerance=0.05,
    ),
    cooldown=Cooldown(parts=10, seconds=0.3),
    read_back_s=0.05,
)
DEVICE = Device(
    power_w=1000.0,
    focus_mm=0.0,
    limit_uohm=55.0,
    part_counter=100,
    mode=EXECUTE,
    recipe=RECIPE,
    last_sequence=0,
    last_command_id="",
    control_source=REMOTE,
    local_reason="",
    beat=1,
    maintenance_lock=False,
    high_alarm=False,
)
UP = SetParameter(parameter=Parameter.LASER_POWER_W, value=1020.0, expected=1000.0)


def power(value: float, expected: float = 1000.0) -> SetParameter:
    return SetParameter(parameter=Parameter.LASER_POWER_W, value=value, expected=expected)


def focus(value: float, expected: float = 0.0) -> SetParameter:
    return SetParameter(parameter=Parameter.FOCUS_MM, value=value, expected=expected)


def gate(value: float, expected: float = 55.0) -> SetParameter:
    return SetParameter(parameter=Parameter.END_OF_LINE_LIMIT_UOHM, value=value, expected=expected)


def head(event_id: str, at: datetime = NOW, asset: str = ASSET) -> dict[str, Any]:
    return {"event_id": event_id, "asset": asset, "at": at, "observed_at": at, "trace_id": "0" * 32}


def proposal(change_id: str = "c1", action: Action = UP, *, at: datetime = NOW, **other: Any) -> Proposed:
    given: dict[str, Any] = {
        "diagnosis": Diagnosis.DIRTY_WINDOW,
        "recipe": RECIPE,
        "reason": "",
        "evidence": (),
        "expires_at": at + timedelta(seconds=30),
        "model": "weld",
        "model_version": 1,
        "input_digest": "",
    }
    return Proposed(
        **head(f"{change_id}-proposed", at), change_id=change_id, action=action, **{**given, **other}
    )


def simulated(change_id: str, at: datetime = NOW) -> Simulated:
    return Simulated(**head(f"{change_id}-simulated", at), change_id=change_id, do_nothing=None, do_this=None)


def envelope(
    of: Proposed,
    sequence: int = 1,
    *,
    at: datetime = NOW,
    valid_s: float = 5.0,
    approver: str = "policy:auto",
) -> Envelope:
    return Envelope(
        command_id=of.change_id,
        asset=of.asset,
        action=of.action,
        unit=UNIT[of.action.parameter] if isinstance(of.action, SetParameter) else "",
        recipe=of.recipe,
        sequence=sequence,
        issued_at=at,
        expires_at=at + timedelta(seconds=valid_s),
        model=of.model,
        model_version=of.model_version,
        input_digest=of.input_digest,
        mode=of.mode,
        approver=approver,
        rollback_of=of.rollback_of,
    )


def approved(one: Envelope, signer: Signer = SIGNER, *, change_id: str = "") -> Approved:
    """The release of `one`, signed."""
    change_id = change_id or one.command_id
    return Approved(
        **head(f"{change_id}-approved", one.issued_at, one.asset),
        change_id=change_id,
        approver=one.approver,
        reason="",
        envelope=one,
        signature=signer.sign(signing_bytes(one)),
        key_id=signer.key_id,
    )


def promotion(
    to: Mode = Mode.AUTO,
    *,
    name: str = "p",
    at: datetime = NOW,
    asset: str = ASSET,
    model: str = "weld",
    version: int = 1,
) -> list[Any]:
    """A person asks for each mode up to `to`, and the controller enters it."""
    events: list[Any] = []
    for mode in (Mode.SUPERVISED, Mode.AUTO)[: max(0, to.rank - 1)]:
        request = f"{name}-{mode}-requested"
        events += [
            ModeRequested(**head(request, at, asset), mode=mode, by="person:ada", reason="commissioned"),
            ModeEntered(
                **head(f"{name}-{mode}-entered", at, asset),
                mode=mode,
                request=request,
                power_w=1000.0,
                focus_mm=0.0,
                model=model,
                model_version=version if model else 0,
            ),
        ]
    return events


class StepClock(ManualClock):
    """A clock that moves a little whenever it is asked, so that deadlines come."""

    def now(self) -> datetime:
        self.advance(0.01)
        return super().now()


class MemoryAudit:
    """An audit store in memory; `away` when nothing can be written."""

    def __init__(self) -> None:
        self.away = False
        self.entries: list[dict[str, Any]] = []

    def problem(self) -> str | None:
        return "the disk is full" if self.away else None

    async def append(self, **fields: Any) -> AuditEntry:
        if self.away:
            raise AuditAway("the disk is full")
        self.entries.append(fields)
        return AuditEntry(event_id="", chain="line", number=len(self.entries), **{"at": NOW, **fields})

    def of(self, what: str) -> list[dict[str, Any]]:
        return [one for one in self.entries if one["what"] == what]


@dataclass
class Switch:
    """A kill switch in memory."""

    killed: str | None = None

    def in_force(self, asset: str) -> str | None:
        return self.killed


@dataclass
class Line:
    """A line with one station in memory, and the log of changes. `promoted` is the mode that it begins in."""

    device: Device = DEVICE
    limits: StationLimits = LIMITS
    clock: ManualClock = field(default_factory=lambda: StepClock(NOW))
    promoted: Mode = Mode.AUTO
    out: MemoryPublisher = field(default_factory=MemoryPublisher)
    audit: MemoryAudit = field(default_factory=MemoryAudit)
    switch: Switch = field(default_factory=Switch)
    shared: FakePlc | None = None
    history: Sequence[Any] = ()

    def __post_init__(self) -> None:
        self.ledger = Ledger()
        self.metrics = Metrics(CollectorRegistry())
        self.plc = self.shared or FakePlc(self.clock, self.device)
        self.notices = Notices(self.audit, self.clock, self.metrics)
        self.admission = Admission([ASSET])
        self.vigil = Vigil(
            self.plc,
            {ASSET: self.limits},
            self.admission.of,
            stops=self.switch,
            audit=self.audit,
            notices=self.notices,
            clock=self.clock,
            metrics=self.metrics,
        )
        self.carrier = Carrier(
            self.plc,
            Trusted([SIGNER.public]),
            self.audit,
            self.switch,
            self.vigil,
            self.notices,
            Teller(self.out, self.audit, self.clock, self.metrics),
            self.clock,
        )
        self.log: list[Any] = []
        self.sequence = 0
        for event in self.history:
            self.log.append(event)
            self.ledger.fold(event)
        self.admit()
        self.read(*promotion(self.promoted))

    def admit(self) -> None:
        self.admission.admit(
            [self.ledger], lambda *found: self.notices.say_shed(found[0], found[1], "restarted")
        )

    def read(self, *events: Any) -> None:
        for event in events:
            self.log.append(event)
            self.ledger.fold(event)
        self.admit()

    def release(self, one: Proposed | None = None, **how: Any) -> Approved:
        """Propose and release; the envelope is of the present."""
        one = one or proposal()
        self.sequence += 1
        given = {"sequence": self.sequence, "at": self.clock.now(), **how}
        told = approved(envelope(one, **given))
        self.read(one, simulated(one.change_id), told)
        return told

    async def take(self) -> None:
        """A beat or two: control is taken and kept."""
        await self.vigil.beat(ASSET)
        await self.vigil.beat(ASSET)

    async def work(self) -> None:
        """What the service does after each poll."""
        for change in self.ledger.due():
            await self.carrier.carry(change, self.ledger, self.limits)

    async def act(self) -> None:
        """Take control and work."""
        await self.take()
        await self.work()

    async def work_until_ended(self) -> None:
        for _ in range(100):
            await self.work()
            if not list(self.ledger.due()):
                return
            self.clock.advance(0.2)
        raise AssertionError("it never ended")

    async def said(self) -> None:
        """Audit and publish what was said of its own accord."""
        while not self.notices.idle:
            await self.notices.record_next()
            await self.notices.publish_next(self.out)

    def restarted(self) -> Line:
        """A new process that reads the log again; the device is the same."""
        other = Line(
            limits=self.limits,
            clock=self.clock,
            promoted=Mode.SHADOW,
            switch=self.switch,
            shared=self.plc,
            history=[*self.log, *self.published],
        )
        other.sequence = self.sequence
        return other

    @property
    def told(self) -> list[Any]:
        """What it said of changes."""
        return [one for one in self.published if hasattr(one, "change_id")]

    @property
    def published(self) -> list[Any]:
        """Everything it wrote to the log."""
        return [decode(CHANGES, one.value) for one in self.out.messages if one.topic is CHANGES]

    @property
    def alarms(self) -> list[str]:
        return [decode(ALARMS, one.value).code for one in self.out.messages if one.topic is ALARMS]

    @property
    def story(self) -> list[tuple[str, str]]:
        return [(one.change_id, state) for one, state in zip(self.told, self.states, strict=True)]

    @property
    def states(self) -> list[str]:
        return names(self.told)

    @property
    def refused(self) -> list[str]:
        return [one.guard for one in self.told if hasattr(one, "guard")]


def names(events: Sequence[Any]) -> list[str]:
    return [str(one.__struct_config__.tag) for one in events]


def hold(reason: str = "gap") -> Hold:
    return Hold(reason=reason)
