"""Records of the JSON topics: structs to bytes and back, with CloudEvents 1.0 headers (binary mode)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from twinloop.contracts.audit import AuditEntry
from twinloop.contracts.changes import AnyChange
from twinloop.contracts.controls import AnyControl
from twinloop.contracts.deadletters import DeadLetter
from twinloop.contracts.errors import ContractError
from twinloop.contracts.events import Alarm, Anomaly, Event, JointWelded, Verdict
from twinloop.contracts.field import AnyFieldEvidence, VehicleBuilt
from twinloop.contracts.frames import Frame, encode_frame
from twinloop.contracts.models import ModelMemory, ModelRoute
from twinloop.contracts.receipts import Receipt
from twinloop.contracts.times import utc
from twinloop.contracts.topics import (
    ALARMS,
    ANOMALIES,
    AUDIT,
    CHANGES,
    DEAD_LETTERS,
    FIELD_EVIDENCE,
    GENEALOGY,
    MODEL_MEMORY,
    MODELS,
    RECEIPTS,
    SCORES,
    Format,
    Topic,
)


class Undecodable(ContractError):
    """Raised when bytes are not a record of their topic.

    Operator action: look at the dead letter; its publisher writes another version or another topic.
    """


@dataclass(frozen=True, slots=True)
class Message:
    """A record ready to publish. `topic` is the contract, not yet the prefixed name; `partition` is left to
    the key unless the topic says otherwise."""

    topic: Topic
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    partition: int | None = None


_TYPES: dict[Topic, Any] = {
    GENEALOGY: JointWelded | VehicleBuilt,
    FIELD_EVIDENCE: AnyFieldEvidence,
    ANOMALIES: Anomaly,
    SCORES: Verdict,
    CHANGES: AnyChange | AnyControl,
    ALARMS: Alarm,
    AUDIT: AuditEntry,
    MODELS: ModelRoute,
    MODEL_MEMORY: ModelMemory,
    DEAD_LETTERS: DeadLetter,
    RECEIPTS: Receipt,
}
_ENCODER = msgspec.json.Encoder()
_DECODERS = {topic: msgspec.json.Decoder(kind) for topic, kind in _TYPES.items()}


def _headers(
    topic: Topic,
    *,
    kind: str,
    event_id: str,
    source: str,
    subject: str,
    at: str,
    trace: str,
    caused_by: str | None = None,
) -> tuple[tuple[str, bytes], ...]:
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", f"twinloop.{kind}.v1".encode()),
        ("ce_source", f"/twinloop/{source}".encode()),
        ("ce_subject", subject.encode()),
        ("ce_time", at.encode()),
        ("content-type", topic.format.value.encode()),
    ]
    if trace:
        headers.append(("traceparent", f"00-{trace}-{event_id.replace('-', '')[:16]}-01".encode()))
        if caused_by:
            headers.append(("ce_causedby", caused_by.encode()))
    return tuple(headers)


def message(
    topic: Topic,
    event: Event | ModelRoute | ModelMemory | DeadLetter | AuditEntry | Receipt,
    *,
    source: str,
    partition: int | None = None,
) -> Message:
    """`event` as a record of `topic`; `source` is the service that writes it."""
    key = str(getattr(event, topic.key))
    return Message(
        topic,
        key.encode(),
        _ENCODER.encode(event),
        _headers(
            topic,
            kind=str(event.__struct_config__.tag or "dead_letter"),
            event_id=event.event_id,
            source=source,
            subject=key,
            at=event.at.isoformat(),
            trace=event.trace_id if isinstance(event, Event) else "",
            caused_by=event.caused_by if isinstance(event, Event) else None,
        ),
        partition,
    )


def frame_message(topic: Topic, frame: Frame, *, source: str) -> Message:
    """`frame` as a record of a telemetry topic."""
    if topic.format is not Format.PROTOBUF:
        raise ContractError(f"{topic.name} does not carry telemetry frames")
    return Message(
        topic,
        frame.asset.encode(),
        encode_frame(frame),
        _headers(
            topic,
            kind="telemetry_frame",
            event_id=frame.event_id,
            source=source,
            subject=frame.asset,
            at=utc(frame.observed_at_ns).isoformat(),
            trace=frame.trace_id,
        ),
    )


def decode(topic: Topic, value: bytes) -> Any:
    """The event in `value`, typed as `topic` promises. Raises `Undecodable`."""
    try:
        return _DECODERS[topic].decode(value)
    except msgspec.MsgspecError as error:
        raise Undecodable(f"not a record of {topic.name}: {error}") from error
