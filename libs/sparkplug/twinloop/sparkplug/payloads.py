"""Payloads as plain values, and their bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from twinloop.sparkplug import sparkplug_pb2 as pb
from twinloop.sparkplug.datatypes import DataType, Value, read_value, write_value
from twinloop.sparkplug.errors import Undecodable

BD_SEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What a BIRTH says about a metric."""

    name: str
    datatype: DataType


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """A metric with its value. `at_ms`: when it was captured, milliseconds since 1970, UTC, where given.

    `alias` is `None` where the metric goes by its name. `historical`: it is not the value of now.
    """

    name: str
    datatype: DataType
    value: Value
    at_ms: int | None = None
    alias: int | None = None
    historical: bool = False


def parse_payload(data: bytes) -> pb.Payload:
    """The message in `data`, its values not looked at. Raises `Undecodable` when it is no payload."""
    try:
        return pb.Payload.FromString(data)
    except DecodeError as error:
        raise Undecodable(f"no Sparkplug B payload: {error}") from error


def encode_birth(metrics: Iterable[Metric], *, at_ms: int, seq: int) -> bytes:
    """An NBIRTH or DBIRTH: every metric with its name, alias where it has one, datatype and value."""
    return _encode(metrics, at_ms, seq, birth=True)


def encode_data(metrics: Iterable[Metric], *, at_ms: int, seq: int) -> bytes:
    """An NDATA or DDATA: a metric with an alias goes by it alone, and no datatype is sent."""
    return _encode(metrics, at_ms, seq, birth=False)


def encode_node_death(*, bd_seq: int, at_ms: int) -> bytes:
    """An NDEATH, the only message of an edge node without a sequence number."""
    return _encode([Metric(BD_SEQ, DataType.INT64, bd_seq, at_ms)], at_ms, None, birth=True)


def encode_device_death(*, at_ms: int, seq: int) -> bytes:
    """A DDEATH: a timestamp and a sequence number."""
    return _encode([], at_ms, seq, birth=False)


def encode_rebirth_command(*, at_ms: int) -> bytes:
    """The NCMD that asks an edge node for its births.

    Commands have no sequence number, and this one goes by name: its metric never has an alias.
    """
    return _encode([Metric(REBIRTH, DataType.BOOLEAN, True, at_ms)], at_ms, None, birth=True)


def asks_for_rebirth(data: bytes) -> bool:
    """True when an NCMD asks for the births again. Raises `Undecodable` when `data` is no payload."""
    return any(
        metric.name == REBIRTH and read_value(metric, DataType.BOOLEAN) is True
        for metric in parse_payload(data).metrics
    )


def _encode(metrics: Iterable[Metric], at_ms: int, seq: int | None, *, birth: bool) -> bytes:
    payload = pb.Payload(timestamp=at_ms)
    for metric in metrics:
        message = payload.metrics.add()
        if metric.alias is not None:
            message.alias = metric.alias
        if birth or metric.alias is None:
            message.name = metric.name
        if birth:
            message.datatype = metric.datatype
        if metric.at_ms is not None:
            message.timestamp = metric.at_ms
        if metric.historical:
            message.is_historical = True
        write_value(message, metric.datatype, metric.value)
    if seq is not None:
        payload.seq = seq
    return payload.SerializeToString()
