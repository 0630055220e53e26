"""Twinloop's own decisions around a cell, in-process, as its services make them.

    part -> publisher faults -> ingest's normalisation and gate
         -> (half of the latency later) windows -> ONNX model -> detector.judge -> controller.decide
         -> twin.foresee, twin.judge -> signed envelope
         -> (the other half later) line's guards -> the PLC -> read back -> controller

A person has promoted the asset to AUTO, step by step, once its first part was known. What is left out is
transport: MQTT and Sparkplug's session, Kafka, Triton, OPC UA and its heartbeats, and the audit store.
Instead of their time there is a latency in parts, from a part's end until what follows from it is in force.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from bench_loop.carried import Line
from bench_loop.cell import Cell, Strategy
from bench_loop.released import Twin
from bench_loop.rules import ASSET, CONFIG, STATION
from bench_loop.served import served
from twinloop.contracts.changes import AnyChange, ChangeEvent, Proposed
from twinloop.contracts.controls import AnyControl, ControlEvent, ModeRequested
from twinloop.contracts.events import Alarm, Anomaly
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.ids import event_id
from twinloop.contracts.modes import Mode
from twinloop.controller.agreement import agreed
from twinloop.controller.diagnose import diagnose
from twinloop.controller.policy import AssetPolicy, ControllerPolicy
from twinloop.controller.state import Diagnosed, Outcome, Refused, Station
from twinloop.controller.station import StationEvent, decide
from twinloop.detector.cuts import Lane
from twinloop.detector.judge import judge as judge_windows
from twinloop.detector.remembered import Remembered
from twinloop.detector.routes import Judge, Role
from twinloop.detector.taken import Pending
from twinloop.features.checks import check_frame
from twinloop.features.ordering import NamedGate, Order
from twinloop.features.windows import WindowBuffer, WindowSpec
from twinloop.ingest.errors import Refused as NotTaken
from twinloop.ingest.normalize import Ages, Normalized, part_made
from twinloop.ingest.signal_sets import SignalSets
from twinloop.ingest.signal_sets import load as load_signal_sets
from twinloop.runtime.settings import load_toml
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.simulator import telemetry
from twinloop.simulator.plant import MadePart
from twinloop.simulator.process import NOMINAL_POWER_W
from twinloop.simulator.publisher import Outbox, publish
from twinloop.sparkplug import Message

LATENCY_PARTS = 6
"""From a part's end until a change that follows from it is in force: 0.3 s at 20 parts a second, as in the
demo. Half of it passes until the controller has decided, the rest until the PLC was read back."""
_AGES = Ages(max_age_s=3600.0, max_ahead_s=5.0)
_INPUT = TopicPartition("telemetry.factory", 0)
_NOTHING = Remembered(_INPUT.topic, {})


@cache
def policy() -> AssetPolicy:
    """The controller's, as the demo runs it."""
    return load_toml(CONFIG / "controller.toml", ControllerPolicy).of(ASSET)


@cache
def signal_sets() -> SignalSets:
    """What ingest knows of signals."""
    return load_signal_sets()


def diagnosis_of(features: dict[str, float], deviations: dict[str, float]) -> str:
    """The controller's diagnosis of one anomalous window of a part made at nominal power."""
    reading = diagnose(features, deviations, policy().diagnosis)
    return str(agreed(reading, NOMINAL_POWER_W, policy()))


@dataclass
class _Record:
    """What `judge_windows` asks of a record."""

    value: bytes
    offset: int = 0
    key: bytes | None = None


@dataclass(eq=False)
class Loop:
    """One cell's state in every service. `due`: ids of released changes, by the weld before which
    they reach the line."""

    cell: Cell
    latency_parts: int
    station: Station = field(default_factory=lambda: Station(asset=ASSET))
    gate: NamedGate = field(default_factory=NamedGate)
    outbox: Outbox = field(default_factory=Outbox)
    held_back: dict[int, MadePart] = field(default_factory=dict)
    arriving: dict[int, list[Normalized]] = field(default_factory=lambda: defaultdict(list))
    due: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    detected: int | None = None
    alarms: list[str] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    diagnoses: Counter[str] = field(default_factory=Counter)
    promoted: bool = False

    def __post_init__(self) -> None:
        self.twin = Twin(self.tell)
        self.line = Line(self.cell, self.tell)

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
            made = part_made(ASSET, ended_ms, values, signal_sets(), _AGES, self.cell.now)
        except NotTaken:
            return None  # a dead letter
        frame = made.frame
        new = self.gate.check(frame.asset, frame.signal_set, frame.sequence) is Order.NEW
        return made if new else None

    def arrive(self, made: Normalized) -> None:
        """The twin and the controller learn of a part."""
        self.twin.show(made.frame)
        if made.joint is not None:
            self.twin.made(made.joint, self.cell.now)
            self.fold(made.joint)
            if not self.promoted:
                self.promoted = True
                self.promote()

    def promote(self) -> None:
        """A person asks for AUTO, step by step."""
        for mode in (Mode.SUPERVISED, Mode.AUTO):
            self.tell(
                ModeRequested(
                    event_id=event_id("mode_requested", ASSET, mode),
                    asset=ASSET,
                    at=self.cell.now,
                    observed_at=self.cell.now,
                    trace_id="",
                    mode=mode,
                    by="person:eva",
                    reason="commissioned",
                )
            )

    def anomalous(self, anomaly: Anomaly) -> None:
        """The controller learns that a part is."""
        case = self.cell.case
        if self.detected is None and anomaly.sequence - self.cell.counter + self.cell.number > case.start:
            self.detected = self.cell.number - case.start
        self.fold(anomaly)

    def fold(self, event: StationEvent) -> None:
        """Let the controller decide, and everybody read what it says."""
        self.station, outcomes = decide(self.station, event, policy(), self.cell.now)
        for one in outcomes:
            self._follow(one)

    def _follow(self, outcome: Outcome) -> None:
        if isinstance(outcome, Alarm):
            self.alarms.append(str(outcome.code))
        elif isinstance(outcome, Diagnosed):
            self.diagnoses[str(outcome.diagnosis)] += 1
        elif isinstance(outcome, Refused):
            self.refusals[outcome.guard] += 1
        elif isinstance(outcome, ChangeEvent | ControlEvent):
            self.tell(outcome)  # type: ignore[arg-type]  # what the controller writes is one of them
        if isinstance(outcome, Proposed) and self.twin.decide(outcome, self.cell.now):
            later = self.latency_parts - self.latency_parts // 2
            self.due[self.cell.number + later].append(outcome.change_id)

    def tell(self, event: AnyChange | AnyControl) -> None:
        """An event on `changes`: folded by everyone."""
        self.changes[str(event.__struct_config__.tag)] += 1
        self.twin.fold(event)
        self.line.fold(event)
        self.fold(event)

    def command(self) -> None:
        """What has been on its way to the PLC for long enough arrives."""
        self.twin.tidy(self.cell.now)
        for change_id in self.due.pop(self.cell.number, ()):
            self.line.carry(change_id)


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
        self.loop(cell).command()

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
                _judge(),
                windows.values[n : n + 1],
                np.zeros(1, np.int64),
                np.array([frame.sequence], np.uint64),
                windows.row[n : n + 1],
                np.zeros(1, np.int64),
                [_Record(encode_frame(frame))],
                [b""],
                np.zeros(1, np.uint64),
                _NOTHING,
            )
            anomalies, _ = judge_windows(pending, answer.part(n, n + 1), loop.cell.now, score_every=0)
            found += [(loop, one) for one in anomalies]
        return found

    def detected(self, cell: Cell) -> int | None:
        """See `Strategy`: the first anomaly of a part from the fault on that the controller learnt of."""
        return self.loop(cell).detected


@cache
def _judge() -> Judge:
    contract = served().contract
    spec = WindowSpec(contract.window, contract.hop, contract.signals)
    return Judge(contract.signal_set, contract, Role.DECIDES, Lane(contract.signal_set, spec))


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
