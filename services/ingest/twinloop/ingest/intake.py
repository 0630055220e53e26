"""What becomes of one input: records for Kafka, nothing, or a dead letter. Pure: it holds state, no I/O.

    decode -> normalize -> check age -> check order -> records

Every input has exactly one fate; nothing that it contains makes `Intake` raise.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from twinloop.contracts.codec import Message, message
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.topics import GENEALOGY
from twinloop.features.ordering import NamedGate, Order
from twinloop.ingest import built_json, telemetry_json, withhold
from twinloop.ingest.deadletters import MAX_DETAIL_CHARS, dead_letter
from twinloop.ingest.errors import Refused
from twinloop.ingest.normalize import SERVICE, STEADY, Ages, Normalized, is_telemetry, part_made
from twinloop.ingest.pseudonyms import certainty, contains_vin, is_pseudonym, mask, pseudonym
from twinloop.ingest.rebirths import Rebirths
from twinloop.ingest.signal_sets import Kind, SignalSets
from twinloop.sparkplug import (
    DataBeforeBirth,
    DeviceBorn,
    DeviceData,
    DeviceDied,
    Event,
    HostState,
    NodeBorn,
    NodeDied,
    NodeId,
    RebirthNeeded,
    SparkplugError,
    UnknownAlias,
    Value,
    decode,
)

SPARKPLUG = "spBv1.0/"
VEHICLES = "http/vehicles"
MAX_RECORD_BYTES = 6 * 1024 * 1024
"""Kafka takes 8 MiB, and a record that it refuses ends the service."""


class Fate(StrEnum):
    """What became of an input."""

    FRAME = "frame"
    VEHICLE_BUILT = "vehicle_built"
    NO_TELEMETRY = "no_telemetry"
    DUPLICATE = "duplicate"
    DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A fate, and the records that go with it.

    `observed_at_ns`: of the frame, for the delay. `vehicle`: the pseudonym of one that was built.
    """

    fate: Fate
    messages: list[Message] = field(default_factory=list)
    event_id: str = ""
    trace_id: str = ""
    observed_at_ns: int = 0
    vehicle: str = ""
    refused: Refused | None = None


class Intake:
    """The state that inputs are judged by: births, steady values, and the last sequence of each asset."""

    def __init__(self, sets: SignalSets, ages: Ages, pseudonym_key: bytes, rebirths: Rebirths) -> None:
        self._sets = sets
        self._ages = ages
        self._key = pseudonym_key
        self._rebirths = rebirths
        self._host = HostState()
        self._steady: dict[tuple[NodeId, str], dict[str, Value]] = {}
        self._gate = NamedGate()

    def mqtt(self, topic: str, payload: bytes, now: datetime) -> Outcome:
        """The outcome of an MQTT message."""
        if topic.startswith(SPARKPLUG):
            return self._sparkplug(topic, payload, now)
        parts = topic.split("/")
        vehicle = parts[1] if len(parts) == 3 else ""
        return self._json(payload, now, source=topic, vehicle=vehicle)

    def http(self, item: bytes, now: datetime) -> Outcome:
        """The outcome of one item of an HTTP batch."""
        return self._json(item, now, source="http", vehicle=None)

    def built(self, item: bytes, now: datetime) -> Outcome:
        """The outcome of one vehicle of an HTTP batch: what the end of its line tells."""
        try:
            built = built_json.vehicle_built(item, self._key, self._ages.max_ahead_s, now)
            records = _small([message(GENEALOGY, built, source=SERVICE)])
        except Refused as refused:
            return self._kept(refused, VEHICLES, item, withhold.of_vehicle(item, self._key), now)
        return Outcome(
            Fate.VEHICLE_BUILT,
            records,
            event_id=built.event_id,
            trace_id=built.trace_id,
            vehicle=built.vehicle,
        )

    def no_frames(self, body: bytes, error: Exception, now: datetime) -> Outcome:
        """The outcome of an HTTP body that is no batch of frames."""
        return self._refused(_no_batch(error), "http", body, now)

    def no_vehicles(self, body: bytes, error: Exception, now: datetime) -> Outcome:
        """The outcome of an HTTP body that is no batch of vehicles."""
        return self._kept(_no_batch(error), VEHICLES, body, withhold.of_vehicle(body, self._key), now)

    def _sparkplug(self, topic: str, payload: bytes, now: datetime) -> Outcome:
        asset = ""
        try:
            outcome = Outcome(Fate.NO_TELEMETRY)
            for event in decode(topic, payload, self._host):
                if isinstance(event, DeviceData):
                    asset = event.asset
                    outcome = self._device_data(event, now)
                else:
                    self._life(event, now)
        except SparkplugError as error:
            if error.rebirth_of is not None:
                self._rebirths.want(error.rebirth_of, now)
            refused = Refused(_reason(error), error.detail)
            return _dead(refused, dead_letter(refused, source=topic, payload=payload, at=now))
        except Refused as refused:
            return _dead(refused, dead_letter(refused, source=topic, payload=payload, at=now, asset=asset))
        return outcome

    def _device_data(self, event: DeviceData, now: datetime) -> Outcome:
        present = _values(event)
        captured_ms = _captured_ms(event)
        historical = captured_ms is not None
        steady = self._steady.setdefault((event.node, event.device), {})
        values = present if historical else {**steady, **present}
        if not event.late and not historical:
            steady.update((name, value) for name, value in present.items() if name in STEADY)
        if not is_telemetry(present):
            return Outcome(Fate.NO_TELEMETRY)
        at_ms = event.at_ms if captured_ms is None else captured_ms
        made = part_made(event.asset, at_ms, values, self._sets, self._ages, now, historical=historical)
        return self._in_order(made)

    def _life(self, event: Event, now: datetime) -> None:
        match event:
            case DeviceBorn():
                self._steady[event.node, event.device] = {
                    name: value for name, value in _values(event).items() if name in STEADY
                }
            case DeviceDied():
                self._steady.pop((event.node, event.device), None)
            case NodeBorn() | NodeDied():
                self._rebirths.forget(event.node)
                for key in [key for key in self._steady if key[0] == event.node]:
                    del self._steady[key]
            case RebirthNeeded():
                self._rebirths.want(event.node, now)

    def _json(self, payload: bytes, now: datetime, *, source: str, vehicle: str | None) -> Outcome:
        asset, kind = "", Kind.VEHICLE
        try:
            if vehicle is not None:
                _no_vin(f"{source} {withhold.readable(payload)}")
            telemetry = telemetry_json.parse(payload)
            asset, kind = telemetry_json.source_of(telemetry, vehicle)
            if kind is Kind.VEHICLE and vehicle is None:
                _no_vin(withhold.readable(payload))
            normalized = telemetry_json.normalized(telemetry, asset, kind, self._sets)
            self._ages.check(normalized.frame, now, kind)
            return self._in_order(normalized)
        except Refused as refused:
            return self._refused(refused, source, payload, now, vehicle=vehicle, asset=asset, kind=kind)

    def _refused(
        self,
        refused: Refused,
        source: str,
        payload: bytes,
        now: datetime,
        *,
        vehicle: str | None = None,
        asset: str = "",
        kind: Kind = Kind.VEHICLE,
    ) -> Outcome:
        """A dead letter of telemetry without VINs, whatever it was refused for.

        `vehicle` is the name in its topic, `kind` what sent it: a vehicle, as far as one can tell.
        """
        hidden = withhold.of_telemetry(payload, self._key, suspect=kind is Kind.VEHICLE)
        if refused.reason is Reason.VIN_IN_CLEAR and hidden == payload:
            hidden = None  # it was not found in the bytes
        if vehicle is not None and not is_pseudonym(vehicle):
            source, hidden = f"vehicles/{pseudonym(vehicle, self._key)}/telemetry", None
        if hidden is None and refused.reason not in (Reason.VIN_IN_CLEAR, Reason.UNDECODABLE):
            refused = Refused(refused.reason, "what is wrong is not repeated, for it may hold a VIN")
        return self._kept(refused, source, payload, hidden, now, asset)

    def _kept(
        self,
        refused: Refused,
        source: str,
        payload: bytes,
        kept: bytes | None,
        now: datetime,
        asset: str = "",
    ) -> Outcome:
        """A dead letter with what of `payload` may be `kept`."""

        def text(value: str) -> str:
            return mask(value.encode(errors="replace"), self._key).decode()

        lost = " (nothing of it is kept, for it may hold a VIN)" if payload and kept is None else ""
        told = Refused(refused.reason, text(refused.detail)[: MAX_DETAIL_CHARS - len(lost)] + lost)
        which = hmac.new(self._key, payload, hashlib.sha256).hexdigest()
        return _dead(
            told,
            dead_letter(
                told, source=text(source), payload=kept or b"", at=now, asset=text(asset), which=which
            ),
        )

    def _in_order(self, normalized: Normalized) -> Outcome:
        frame, records = normalized.frame, _small(normalized.messages())
        order = self._gate.check(frame.asset, frame.signal_set, frame.sequence)
        if order is Order.DUPLICATE:
            return Outcome(Fate.DUPLICATE, event_id=frame.event_id)
        if order is Order.OUT_OF_ORDER:
            raise Refused(Reason.OUT_OF_ORDER, f"sequence {frame.sequence} after a later one")
        return Outcome(
            Fate.FRAME,
            records,
            event_id=frame.event_id,
            trace_id=frame.trace_id,
            observed_at_ns=frame.observed_at_ns,
        )


def _values(event: DeviceBorn | DeviceData) -> dict[str, Value]:
    return {name: metric.value for name, metric in event.metrics.items()}


def _captured_ms(event: DeviceData) -> int | None:
    """When what is told afterwards was captured, ms since 1970; `None` when it is told as it happens.

    Of several times the last; the message's, where its metrics have none.
    """
    told = [one.at_ms for one in event.metrics.values() if one.historical]
    return max((event.at_ms if one is None else one for one in told), default=None)


def _reason(error: SparkplugError) -> Reason:
    if isinstance(error, DataBeforeBirth):
        return Reason.DATA_BEFORE_BIRTH
    return Reason.UNKNOWN_ALIAS if isinstance(error, UnknownAlias) else Reason.UNDECODABLE


def _dead(refused: Refused, letter: Message) -> Outcome:
    told = Refused(refused.reason, refused.detail[:MAX_DETAIL_CHARS])
    return Outcome(Fate.DEAD_LETTER, [letter], refused=told)


def _no_batch(error: Exception) -> Refused:
    return Refused(Reason.UNDECODABLE, f"no batch: {withhold.said(error)}")


def _small(records: list[Message]) -> list[Message]:
    if (most := max(len(record.value) for record in records)) > MAX_RECORD_BYTES:
        raise Refused(Reason.UNPROCESSABLE, f"a record of {most} bytes, at most {MAX_RECORD_BYTES}")
    return records


def _no_vin(text: str) -> None:
    if contains_vin(data := text.encode()):
        raise Refused(Reason.VIN_IN_CLEAR, certainty(data))
