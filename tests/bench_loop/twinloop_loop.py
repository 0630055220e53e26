"""Twinloop's own decisions around a cell, in-process: the only file here that knows its services.

    part -> publisher faults -> ingest's normalisation and gate
         -> (half of the latency later) windows -> ONNX model -> detector.judge -> controller.decide
         -> twin.foresee, twin.judge -> envelope
         -> (the other half later) line's guards -> the PLC -> read back -> controller

What is left out is transport: MQTT and Sparkplug's session, Kafka, Triton, OPC UA. Instead of their time
there is a latency in parts, from a part's end until what follows from it is in force.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import numpy as np

from bench_loop.cell import Cell, Strategy
from bench_loop.rules import ASSET, CONFIG, FOCUS, POWER, STATION
from bench_loop.served import served
from twinloop.contracts.changes import (
    UNIT,
    AnyChange,
    Applied,
    Approved,
    Envelope,
    Failed,
    Hold,
    Inconclusive,
    Issued,
    Proposed,
    Rejected,
    SetParameter,
    Simulated,
    Verified,
    signing_bytes,
)
from twinloop.contracts.events import Alarm, Anomaly
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.ids import event_id
from twinloop.contracts.models import ModelRoute
from twinloop.controller.diagnose import diagnose
from twinloop.controller.policy import AssetPolicy, ControllerPolicy
from twinloop.controller.state import Diagnosed, Outcome, Refused, Station
from twinloop.controller.station import StationEvent, decide
from twinloop.detector.judge import judge as judge_windows
from twinloop.detector.partition import Pending
from twinloop.features.checks import check_frame
from twinloop.features.ordering import NamedGate, Order
from twinloop.features.windows import WindowBuffer, WindowSpec
from twinloop.ingest.errors import Refused as NotTaken
from twinloop.ingest.normalize import Ages, Normalized, part_made
from twinloop.ingest.signal_sets import SignalSets
from twinloop.ingest.signal_sets import load as load_signal_sets
from twinloop.line.guard import Case as LineCase
from twinloop.line.guard import refusal
from twinloop.line.ledger import Ledger
from twinloop.line.limits import LineLimits, StationLimits
from twinloop.line.plc import Device
from twinloop.runtime.settings import load_toml
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.simulator import plc as device_rules
from twinloop.simulator import telemetry
from twinloop.simulator.plant import MadePart
from twinloop.simulator.publisher import Outbox, publish
from twinloop.sparkplug import Message
from twinloop.trust.keys import Signer
from twinloop.twin.approve import APPROVER
from twinloop.twin.assets import Asset, TwinAssets, WeldModel
from twinloop.twin.judge import foresee
from twinloop.twin.judge import judge as judge_change
from twinloop.twin.observe import Observations

LATENCY_PARTS = 6
"""From a part's end until a change that follows from it is in force: 0.3 s at 20 parts a second, as in the
demo. Half of it passes until the controller has decided, the rest until the PLC was read back."""
_AGES = Ages(max_age_s=3600.0, max_ahead_s=5.0)
_INPUT = TopicPartition("telemetry.factory", 0)
_READ_BACK_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Configured:
    """What each service is configured with for the station, from the files that the demo runs with."""

    policy: AssetPolicy
    limits: StationLimits
    asset: Asset
    model: WeldModel
    sets: SignalSets
    signer: Signer


@cache
def configured() -> Configured:
    """Read once a process."""
    twin = load_toml(CONFIG / "twin.toml", TwinAssets)
    asset = twin.assets[ASSET]
    return Configured(
        load_toml(CONFIG / "controller.toml", ControllerPolicy).of(ASSET),
        load_toml(CONFIG / "line.toml", LineLimits).assets[ASSET],
        asset,
        twin.models[asset.model],
        load_signal_sets(),
        Signer.generate(),
    )


def diagnosis_of(features: dict[str, float], deviations: dict[str, float]) -> str:
    """The controller's diagnosis of one anomalous window."""
    return str(diagnose(features, deviations, configured().policy.diagnosis).diagnosis)


@dataclass
class _Record:
    """What `judge_windows` asks of a record."""

    value: bytes
    offset: int = 0
    key: bytes | None = None


@dataclass(eq=False)
class Loop:
    """One cell's state in every service. `due`: released changes, by the number of the weld before which they
    reach the line."""

    cell: Cell
    latency_parts: int
    station: Station = field(default_factory=lambda: Station(asset=ASSET))
    observations: Observations = field(
        default_factory=lambda: Observations({ASSET: configured().asset.estimate.parts})
    )
    ledger: Ledger = field(default_factory=Ledger)
    gate: NamedGate = field(default_factory=NamedGate)
    outbox: Outbox = field(default_factory=Outbox)
    held_back: dict[int, MadePart] = field(default_factory=dict)
    arriving: dict[int, list[Normalized]] = field(default_factory=lambda: defaultdict(list))
    due: dict[int, list[Proposed]] = field(default_factory=lambda: defaultdict(list))
    releases: int = 0
    detected: int | None = None
    alarms: list[str] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    diagnoses: Counter[str] = field(default_factory=Counter)

    def publish(self, part: MadePart) -> None:
        """The station reports `part`; what reaches ingest, and is taken, is under way."""
        case, number = self.cell.case, part.number
        self.held_back[number] = part
        named = Message(STATION, number.to_bytes(4, "big"))
        self.outbox, sent = publish(self.outbox, case.faults, number, named)
        for message in sent:
            taken = self._ingest(self.held_back[int.from_bytes(message.payload, "big")])
            if taken is not None:
                self.arriving[number + self.latency_parts // 2].append(taken)

    def _ingest(self, part: MadePart) -> Normalized | None:
        ended_ms = round((self.cell.now.timestamp() + part.clock_offset_s) * 1000)
        values = telemetry.of_part(part, ended_ms)
        try:
            made = part_made(ASSET, ended_ms, values, configured().sets, _AGES, self.cell.now)
        except NotTaken:
            return None  # a dead letter
        frame = made.frame
        new = self.gate.check(frame.asset, frame.signal_set, frame.sequence) is Order.NEW
        return made if new else None

    def arrive(self, made: Normalized) -> None:
        """The twin and the controller learn of a part."""
        self.observations.show(made.frame)
        if made.joint is not None:
            self.observations.made(made.joint)
            self.fold(made.joint)

    def anomalous(self, anomaly: Anomaly) -> None:
        """The controller learns that a part is."""
        case = self.cell.case
        if self.detected is None and anomaly.sequence - self.cell.counter + self.cell.number > case.start:
            self.detected = self.cell.number - case.start
        self.fold(anomaly)

    def fold(self, event: StationEvent) -> None:
        """Let the controller decide, and everybody read what it says."""
        self.station, outcomes = decide(self.station, event, configured().policy, self.cell.now)
        for one in outcomes:
            self._follow(one)

    def _follow(self, outcome: Outcome) -> None:
        if isinstance(outcome, Alarm):
            self.alarms.append(str(outcome.code))
        elif isinstance(outcome, Diagnosed):
            self.diagnoses[str(outcome.diagnosis)] += 1
        elif isinstance(outcome, Refused):
            self.refusals[outcome.guard] += 1
        elif isinstance(outcome, Proposed):
            self.tell(outcome)
            self._twin(outcome)
        elif isinstance(outcome, Verified | Inconclusive):
            self.tell(outcome)

    def tell(self, event: AnyChange) -> None:
        """An event on `changes`: folded by everyone."""
        self.changes[str(event.__struct_config__.tag)] += 1
        self.ledger.fold(event)
        self.fold(event)

    def _twin(self, proposed: Proposed) -> None:
        """Forecast, release or reject."""
        own, now = configured(), self.cell.now
        seen = self.observations.of(ASSET)
        forecasts = foresee(proposed, seen, own.asset, own.model, now)
        do_nothing, do_this = forecasts if isinstance(forecasts, tuple) else (None, None)
        decision = judge_change(proposed, forecasts, own.asset, now)
        self.tell(Simulated(**self._of(proposed, "simulated"), do_nothing=do_nothing, do_this=do_this))
        if not decision.approved:
            self.tell(Rejected(**self._of(proposed, "rejected"), approver=APPROVER, reason=decision.reason))
            return
        self.releases += 1
        envelope = self._envelope(proposed, now)
        self.tell(
            Approved(
                **self._of(proposed, "approved"),
                approver=APPROVER,
                reason=decision.reason,
                envelope=envelope,
                signature=own.signer.sign(signing_bytes(envelope)),
                key_id=own.signer.key_id,
            )
        )
        self.due[self.cell.number + self.latency_parts - self.latency_parts // 2].append(proposed)

    def _envelope(self, proposed: Proposed, now: datetime) -> Envelope:
        action = proposed.action
        return Envelope(
            command_id=proposed.change_id,
            asset=ASSET,
            action=action,
            unit=UNIT[action.parameter] if isinstance(action, SetParameter) else "",
            recipe=proposed.recipe,
            sequence=self.releases,
            issued_at=now,
            expires_at=now + timedelta(seconds=5),
            model=proposed.model,
            model_version=proposed.model_version,
            input_digest=proposed.input_digest,
            mode=proposed.mode,
            approver=APPROVER,
            rollback_of=proposed.rollback_of,
        )

    def carry(self, proposed: Proposed) -> None:
        """The line's part: guards, `issued`, the command, and what the device holds then."""
        limits = configured().limits
        touched = self.ledger.touched(ASSET)
        refused = refusal(LineCase(proposed, self._device(), touched, limits, self.cell.now))
        if refused is not None:
            self._failed(proposed, refused.guard, refused.reason)
            return
        sequence = self.cell.plc.last_sequence + 1
        made = self.cell.counter
        self.tell(Issued(**self._of(proposed, "issued"), command_sequence=sequence, part_counter=made))
        outcome = self.cell.command(_command(proposed, sequence, self.cell.now))
        if outcome.code is not device_rules.Code.GOOD:
            self._failed(proposed, "plc", f"the device said {outcome.code}")
            return
        device, action = self._device(), proposed.action
        tolerance = limits.of(action.parameter).tolerance if isinstance(action, SetParameter) else 0.0
        actual = device.value(action.parameter) if isinstance(action, SetParameter) else device.mode
        if device.holds(action, tolerance + _READ_BACK_TOLERANCE):
            self.tell(Applied(**self._of(proposed, "applied"), actual=actual, part_counter=made))
        else:
            self._failed(proposed, "read_back", f"the device holds {actual}")

    def _failed(self, proposed: Proposed, guard: str, reason: str) -> None:
        self.refusals[f"line:{guard}"] += 1
        self.tell(Failed(**self._of(proposed, "failed"), guard=guard, reason=reason))

    def _device(self) -> Device:
        plc = self.cell.plc
        return Device(
            power_w=plc.setpoints[POWER],
            focus_mm=plc.setpoints[FOCUS],
            part_counter=self.cell.counter,
            mode=str(plc.mode),
            recipe=plc.recipe,
            last_sequence=plc.last_sequence,
            last_command_id=plc.last_command_id,
        )

    def _of(self, proposed: Proposed, state: str) -> dict[str, Any]:
        """What the events of a change say alike."""
        return {
            "event_id": event_id(state, proposed.change_id),
            "asset": ASSET,
            "at": self.cell.now,
            "observed_at": proposed.observed_at,
            "trace_id": proposed.trace_id,
            "change_id": proposed.change_id,
        }


def _command(proposed: Proposed, sequence: int, now: datetime) -> device_rules.Command:
    action, until = proposed.action, proposed.expires_at
    if isinstance(action, Hold):
        return device_rules.Hold(proposed.change_id, action.reason, sequence, now, until)
    return device_rules.SetParameter(
        proposed.change_id,
        action.parameter,
        action.value,
        action.expected,
        sequence,
        proposed.recipe,
        now,
        until,
    )


class Twinloop(Strategy):
    """All cells of a run; their windows are cut and judged together, as the detector judges its assets."""

    name = "twinloop"

    def __init__(self, latency_parts: int) -> None:
        contract = served().contract
        self._latency = latency_parts
        self._loops: dict[Cell, Loop] = {}
        self._buffer = WindowBuffer(WindowSpec(contract.window, contract.hop, contract.signals))

    def loop(self, cell: Cell) -> Loop:
        """The state around `cell`."""
        if cell not in self._loops:
            self._loops[cell] = Loop(cell, self._latency)
        return self._loops[cell]

    def before(self, cell: Cell) -> None:
        """What has been on its way to the PLC for long enough arrives."""
        loop = self.loop(cell)
        for proposed in loop.due.pop(cell.number, ()):
            loop.carry(proposed)

    def after(self, made: Sequence[tuple[Cell, MadePart]], number: int) -> None:
        """Report the parts, and take what has been on its way for long enough."""
        frames: list[tuple[Loop, Frame]] = []
        for cell, part in made:
            loop = self.loop(cell)
            loop.publish(part)
            for one in loop.arriving.pop(number, ()):
                loop.arrive(one)
                if check_frame(one.frame, served().contract.signals) is None:
                    frames.append((loop, one.frame))
        for loop, anomaly in self._judged(frames):
            loop.anomalous(anomaly)

    def _judged(self, frames: list[tuple[Loop, Frame]]) -> list[tuple[Loop, Anomaly]]:
        """The anomalies among the windows that `frames` complete."""
        if not frames:
            return []
        windows = self._buffer.push([_named(frame, loop) for loop, frame in frames])
        if not len(windows):
            return []
        answer = served().infer(windows.values)
        found = []
        for n in np.flatnonzero(answer.score > served().contract.threshold).tolist():
            loop, frame = frames[int(windows.frame[n])]
            pending = Pending(
                _INPUT,
                _route(),
                windows.values[n : n + 1],
                np.array([frame.sequence], np.uint64),
                windows.row[n : n + 1],
                np.zeros(1, np.int64),
                [_Record(encode_frame(frame))],
            )
            anomalies, _ = judge_windows(pending, answer.part(n, n + 1), loop.cell.now, score_every=0)
            found += [(loop, one) for one in anomalies]
        return found

    def detected(self, cell: Cell) -> int | None:
        """See `Strategy`: the first anomaly of a part from the fault on that the controller learnt of."""
        return self.loop(cell).detected


@cache
def _route() -> ModelRoute:
    contract = served().contract
    return ModelRoute(
        event_id="route", scope=contract.signal_set, at=datetime.fromisoformat("2026-01-01T00:00:00Z"),
        contract=contract,
    )  # fmt: skip


def _named(frame: Frame, loop: Loop) -> Frame:
    """`frame` as one of an asset of its own, so that windows of several cells are cut in one buffer."""
    return Frame(
        asset=f"{ASSET}.{loop.cell.case.name}",
        signal_set=frame.signal_set,
        sequence=frame.sequence,
        first_at_ns=frame.first_at_ns,
        period_ns=frame.period_ns,
        samples=frame.samples,
        observed_at_ns=frame.observed_at_ns,
        event_id=frame.event_id,
        trace_id=frame.trace_id,
        part_id=frame.part_id,
        bad=frame.bad,
    )
