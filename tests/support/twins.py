"""A twin without Kafka: its ledger, its desk and its API over memory, and the events of others."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from prometheus_client import CollectorRegistry

from support.process_models import write_process_model
from twinloop.audit.errors import AuditAway
from twinloop.contracts.changes import (
    Applied,
    Approved,
    Diagnosis,
    Envelope,
    Parameter,
    Proposed,
    SetParameter,
    Verified,
)
from twinloop.contracts.codec import decode
from twinloop.contracts.controls import ModeEntered, ModeRequested
from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import Frame
from twinloop.contracts.modes import Mode
from twinloop.contracts.times import unix_ns
from twinloop.contracts.topics import ALARMS, CHANGES
from twinloop.local.places import find_places
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka.clients import MemoryPublisher
from twinloop.trust.bearer import Access
from twinloop.trust.keys import Signer
from twinloop.trust.people import token_sha256
from twinloop.twin.api import make_api
from twinloop.twin.assets import TwinAssets
from twinloop.twin.calibration import Joints
from twinloop.twin.calibrator import Calibrator
from twinloop.twin.decider import Decider
from twinloop.twin.desk import Desk
from twinloop.twin.ledger import Ledger
from twinloop.twin.metrics import Metrics
from twinloop.twin.mirror import Mirror
from twinloop.twin.models import Processes
from twinloop.twin.observe import Observations
from twinloop.twin.recorder import Recorder
from twinloop.twin.stand import Stand
from twinloop.twin.stream import Hub

ASSET = "acme.berlin.packs.line1.weld1"
OTHER = "acme.berlin.packs.line1.weld2"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
ASSETS = TwinAssets.model_validate(tomllib.loads((find_places().config / "twin.toml").read_text()))
TOKENS = {"vera": "viewer", "olaf": "operator", "otto": "operator", "ella": "engineer"}
"""People by name, with their roles; a name is the token, too."""


def power(value: float, expected: float = 1000.0) -> SetParameter:
    return SetParameter(parameter=Parameter.LASER_POWER_W, value=value, expected=expected)


def gate(value: float, expected: float = 55.0) -> SetParameter:
    return SetParameter(parameter=Parameter.END_OF_LINE_LIMIT_UOHM, value=value, expected=expected)


def focus(value: float, expected: float = 0.0) -> SetParameter:
    return SetParameter(parameter=Parameter.FOCUS_MM, value=value, expected=expected)


def head(kind: str, change_id: str = "c", at: datetime = NOW) -> dict[str, Any]:
    """The fields that every event of a change has."""
    return {
        "event_id": f"{change_id}-{kind}",
        "asset": ASSET,
        "at": at,
        "observed_at": at,
        "trace_id": "0" * 32,
        "change_id": change_id,
    }


def control(kind: str, at: datetime = NOW, asset: str = ASSET) -> dict[str, Any]:
    """The fields that every control event has."""
    return {"event_id": kind, "asset": asset, "at": at, "observed_at": at, "trace_id": "0" * 32}


def proposed(
    change_id: str = "c",
    action: Any = None,
    mode: Mode = Mode.AUTO,
    rollback_of: str | None = None,
    expires_s: float = 30.0,
    at: datetime = NOW,
) -> Proposed:
    return Proposed(
        **head("proposed", change_id, at),
        action=action or power(1020.0),
        diagnosis=Diagnosis.DIRTY_WINDOW,
        recipe="r",
        reason="shallow",
        evidence=(),
        expires_at=at + timedelta(seconds=expires_s),
        model="weld",
        model_version=1,
        input_digest="d",
        mode=mode,
        rollback_of=rollback_of,
    )


def envelope(one: Proposed, sequence: int = 1) -> Envelope:
    return Envelope(
        command_id=one.change_id,
        asset=one.asset,
        action=one.action,
        unit="W",
        recipe=one.recipe,
        sequence=sequence,
        issued_at=one.at,
        expires_at=one.at + timedelta(seconds=5),
        model=one.model,
        model_version=one.model_version,
        input_digest=one.input_digest,
        mode=one.mode,
        approver="policy:auto",
        rollback_of=one.rollback_of,
    )


def approved(one: Proposed, sequence: int = 1) -> Approved:
    return Approved(
        **head("approved", one.change_id, one.at),
        approver="policy:auto",
        reason="",
        envelope=envelope(one, sequence),
        signature="",
        key_id="",
    )


def applied(one: Proposed, part_counter: int = 10) -> Applied:
    assert isinstance(one.action, SetParameter)
    return Applied(
        **head("applied", one.change_id, one.at), actual=one.action.value, part_counter=part_counter
    )


def verified(one: Proposed, after_uohm: float, parts: int = 10) -> Verified:
    return Verified(
        **head("verified", one.change_id, one.at), parts=parts, before_uohm=46.0, after_uohm=after_uohm
    )


def promotion(*modes: Mode, asset: str = ASSET) -> list[Any]:
    """A person asks for each of `modes` and the controller lets the asset in."""
    events: list[Any] = []
    for mode in modes:
        name = f"{asset}-{mode}"
        events.append(
            ModeRequested(**control(f"ask-{name}", asset=asset), mode=mode, by="person:ella", reason="x")
        )
        events.append(
            ModeEntered(
                **control(f"enter-{name}", asset=asset),
                mode=mode,
                request=f"ask-{name}",
                power_w=1000.0,
                focus_mm=0.0,
            )
        )
    return events


def joint(sequence: int, at: datetime = NOW, uohm: float = 48.0, power_w: float = 1000.0) -> JointWelded:
    return JointWelded(
        event_id=f"j{sequence}",
        asset=ASSET,
        at=at,
        observed_at=at,
        trace_id="0" * 32,
        part_id=str(sequence),
        sequence=sequence,
        recipe="r",
        resistance_uohm=uohm,
        power_w=power_w,
        focus_mm=0.0,
    )


def frame(sequence: int, at: datetime = NOW, depth_mm: float = 0.45) -> Frame:
    """A shallow weld whose window is warm."""
    samples = np.ones((300, 6), np.float32)
    samples[:, 0], samples[:, 1], samples[:, 3] = 0.85, 30.0, depth_mm
    return Frame(
        asset=ASSET,
        signal_set="weld.v1",
        sequence=sequence,
        first_at_ns=unix_ns(at),
        period_ns=10**6,
        samples=samples,
        observed_at_ns=unix_ns(at),
        event_id=f"f{sequence}",
        trace_id="0" * 32,
    )


def process_models(folder: Path) -> Path:
    """A folder with the process model that a commissioning trial identifies."""
    home = folder / "models"
    write_process_model(home)
    return home


@dataclass
class FakeAudit:
    """An audit store in memory; `away` is why nothing can be written down."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    away: str | None = None
    log: list[str] = field(default_factory=list)
    """Shared with the publisher: what happened in which order."""

    def problem(self) -> str | None:
        return self.away

    async def append(self, **what: Any) -> None:
        if self.away is not None:
            raise AuditAway(self.away)
        self.entries.append(what)
        self.log.append(f"audit {what['what']}")

    def of(self, change_id: str) -> list[tuple[str, str]]:
        return [(one["who"], one["what"]) for one in self.entries if one.get("change_id") == change_id]


class Told(MemoryPublisher):
    """Keeps messages, and tells the order beside the audit store's."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    async def publish(self, messages: Any) -> None:
        for one in messages:
            self.messages.append(one)
            self.log.append(f"kafka {decode(one.topic, one.value).__struct_config__.tag}")

    def of(self, topic: Any) -> list[Any]:
        return [decode(topic, one.value) for one in self.messages if one.topic is topic]


class Twin:
    """A whole twin but for Kafka. `read` is what comes from the log; what it publishes is not read."""

    def __init__(self, folder: Path, assets: TwinAssets = ASSETS, **approval: Any) -> None:
        if approval:
            own = assets.assets[ASSET]
            own = own.model_copy(update={"approval": own.approval.model_copy(update=approval)})
            assets = assets.model_copy(update={"assets": {**assets.assets, ASSET: own}})
        self.assets = assets
        self.clock = ManualClock(NOW)
        self.audit = FakeAudit()
        self.out = Told(self.audit.log)
        self.signer = Signer.generate()
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.ledger = Ledger()
        self.ledger.live = True
        self.held: WeakSet[Ledger] = WeakSet([self.ledger])
        self.processes = Processes(process_models(folder))
        self.joints = Joints(list(assets.assets))
        self.observations = Observations({name: one.estimate.parts for name, one in assets.assets.items()})
        self.recorder = Recorder(self.audit, self.out, self.signer, self.clock, self.metrics)
        self.calibrator = Calibrator(assets, self.joints, self.recorder, self.clock, self.metrics)
        self.decider = Decider(
            assets,
            self.processes,
            self.observations,
            self.calibrator,
            self.recorder,
            self.held.__contains__,
            self.clock,
            self.metrics,
        )
        self.desk = Desk(assets, self.ledgers, self.at, self.calibrator, self.recorder, self.clock)
        self.mirror = Mirror(self.at, self.joints, self.decider.waits_for)
        self.hub = Hub(10, self.metrics)
        people = folder / "people.toml"
        people.write_text(
            "".join(
                f'[[people]]\nname = "{name}"\nrole = "{role}"\ntoken_sha256 = "{token_sha256(name)}"\n'
                for name, role in TOKENS.items()
            )
        )
        self.access = Access(people, None)
        self.api = make_api(
            Stand(assets, self.processes, self.observations, self.mirror, self.calibrator, self.at),
            self.desk,
            self.mirror,
            self.hub,
            self.access,
            self.ledgers,
            self.decider.waits_for,
            self.metrics,
        )

    def ledgers(self) -> list[Ledger]:
        return list(self.held)

    def at(self, _: str) -> Ledger | None:
        return self.ledger if self.ledger in self.held else None

    def read(self, *events: Any) -> None:
        for one in events:
            self.ledger.fold(one)

    def observe(self, count: int = 10, depth_mm: float = 0.45) -> None:
        for n in range(1, count + 1):
            self.observations.show(frame(n, self.clock.now(), depth_mm))
            self.observations.made(joint(n, self.clock.now()))
            self.joints.made(joint(n, self.clock.now()))

    async def decide(self) -> None:
        """One turn of the twin's loop."""
        self.calibrator.measure(self.ledger)
        await self.calibrator.shed(self.ledger, ASSET)
        due = [one.proposed.change_id for one in self.ledger.due()]
        self.decider.tidy(set(due))
        for one in due:
            await self.decider.decide(one, self.ledger)

    def told(self, change_id: str = "c") -> list[str]:
        """The names of what it published of a change, in order."""
        return [
            str(one.__struct_config__.tag)
            for one in self.out.of(CHANGES)
            if getattr(one, "change_id", None) == change_id
        ]

    def last(self) -> Any:
        return self.out.of(CHANGES)[-1]

    def alarms(self) -> list[Any]:
        return self.out.of(ALARMS)
