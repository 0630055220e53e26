"""Records as Arrow tables: one schema for telemetry, one for every JSON topic. Pure.

Nothing is left out: a record that cannot be decoded keeps its bytes in `raw` (null otherwise).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from twinloop.contracts.frames import InvalidFrame, decode_frame
from twinloop.contracts.topics import Format
from twinloop.historian.buffers import Record

_WHEN = pa.timestamp("ms", tz="UTC")

TELEMETRY = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", _WHEN, nullable=False),
        pa.field("asset", pa.string()),
        pa.field("signal_set", pa.string()),
        pa.field("sequence", pa.uint64()),
        pa.field("first_at_ns", pa.uint64()),
        pa.field("period_ns", pa.uint64()),
        pa.field("observed_at_ns", pa.uint64()),
        pa.field("part_id", pa.string()),
        pa.field("event_id", pa.string()),
        pa.field("trace_id", pa.string()),
        pa.field("signal_count", pa.int32()),
        pa.field("samples", pa.binary()),
        pa.field("bad", pa.binary()),
        pa.field("offsets_ns", pa.binary()),
        pa.field("raw", pa.binary()),
    ],
    metadata={
        "samples": "float32 little-endian, [time x signal], row-major",
        "bad": "bit per value, same order, most significant bit first; null: all good",
        "offsets_ns": "uint64 little-endian per sample, after first_at_ns; null: period_ns holds",
        "raw": "the record's bytes where they are no frame; every other column of it is null",
    },
)
"""Columns of a telemetry topic."""

EVENTS = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", _WHEN, nullable=False),
        pa.field("key", pa.string()),
        pa.field("type", pa.string()),
        pa.field("event_id", pa.string()),
        pa.field("asset", pa.string()),
        pa.field("value", pa.string()),
        pa.field("raw", pa.binary()),
    ],
    metadata={
        "value": "the event as JSON text",
        "raw": "the record's bytes where they are no event in JSON; null otherwise",
    },
)
"""Columns of a JSON topic."""


class _Head(msgspec.Struct):
    """What every event has in common, whatever its version."""

    type: str | None = None
    event_id: str | None = None
    asset: str | None = None


_HEADS = msgspec.json.Decoder(_Head)


def table(form: Format, records: Sequence[Record]) -> tuple[pa.Table, int]:
    """The records as a table in their order, and how many of them could not be decoded."""
    if form is Format.PROTOBUF:
        schema, rows = TELEMETRY, [_telemetry(record) for record in records]
    else:
        schema, rows = EVENTS, [_event(record) for record in records]
    undecodable = sum(row.get("raw") is not None for row in rows)
    return pa.Table.from_pylist(rows, schema=schema), undecodable


def _telemetry(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {"offset": record.offset, "timestamp": record.timestamp}
    try:
        frame = decode_frame(record.value or b"")
    except InvalidFrame:
        return row | {"raw": record.value or b""}
    return row | {
        "asset": frame.asset,
        "signal_set": frame.signal_set,
        "sequence": frame.sequence,
        "first_at_ns": frame.first_at_ns,
        "period_ns": frame.period_ns,
        "observed_at_ns": frame.observed_at_ns,
        "part_id": frame.part_id,
        "event_id": frame.event_id,
        "trace_id": frame.trace_id,
        "signal_count": frame.samples.shape[1],
        "samples": frame.samples.astype("<f4", copy=False).tobytes(),
        "bad": None if frame.bad is None else np.packbits(frame.bad).tobytes(),
        "offsets_ns": None if frame.offsets_ns is None else frame.offsets_ns.astype("<u8").tobytes(),
    }


def _event(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": None if record.key is None else record.key.decode(errors="backslashreplace"),
    }
    try:
        head = _HEADS.decode(record.value or b"")
        value = (record.value or b"").decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return row | {"raw": record.value or b""}
    return row | {"type": head.type, "event_id": head.event_id, "asset": head.asset, "value": value}
