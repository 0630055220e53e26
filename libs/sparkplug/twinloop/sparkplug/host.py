"""The host's side of a session: what births said, and so what data means.

    state = HostState()
    for event in decode(message.topic, message.payload, state): ...

Sequence numbers. A number that is ahead of the expected one means that messages were lost: the data is
still delivered (each message stands for itself), a `RebirthNeeded` goes with it, and counting goes on from
there, so one gap asks once. A number up to `LATE` behind is a repeat or an overtaken message: it is delivered
as `late`, and no rebirth is asked for, because nothing is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from twinloop.sparkplug import sparkplug_pb2 as pb
from twinloop.sparkplug.datatypes import datatype_of, read_value
from twinloop.sparkplug.errors import DataBeforeBirth, Undecodable, UnknownAlias
from twinloop.sparkplug.events import (
    DeviceBorn,
    DeviceData,
    DeviceDied,
    Event,
    NodeBorn,
    NodeData,
    NodeDied,
    RebirthNeeded,
)
from twinloop.sparkplug.nodes import NodeId
from twinloop.sparkplug.payloads import BD_SEQ, Metric, MetricSpec, parse_payload
from twinloop.sparkplug.topics import MessageType, Topic, parse_topic

LATE = 16
"""How many messages behind still counts as late; further behind can only be a gap that wrapped at 256."""


@dataclass(slots=True)
class _Node:
    """What an edge node's births said. `None` as a device stands for the node itself."""

    bd_seq: int | None
    next_seq: int
    aliases: dict[int, tuple[str | None, MetricSpec]] = field(default_factory=dict)
    metrics: dict[str | None, dict[str, MetricSpec]] = field(default_factory=dict)

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(device for device in self.metrics if device is not None)


@dataclass(slots=True)
class HostState:
    """The living edge nodes. Changed by `decode` only; one for every host."""

    nodes: dict[NodeId, _Node] = field(default_factory=dict)


def decode(topic: str, data: bytes, state: HostState) -> list[Event]:
    """The events in one MQTT message; `state` takes what it says. Commands give no events.

    Raises `Undecodable`, `DataBeforeBirth` or `UnknownAlias`; the state is then as if the message had not
    come, but that its sequence number, where it could be read, is counted. `error.rebirth_of` names the node
    to ask for its births, where that helps.
    """
    where = parse_topic(topic)
    match where.type:
        case MessageType.NBIRTH:
            return _node_birth(where, parse_payload(data), state)
        case MessageType.NDEATH:
            return _node_death(where, parse_payload(data), state)
        case MessageType.NCMD | MessageType.DCMD:
            return []
    payload = parse_payload(data)
    node = state.nodes.get(where.node)
    if node is None:
        raise DataBeforeBirth(f"{where.type} of {where.node} before its NBIRTH", where.node)
    late, lost = _count(where.node, node, _seq(payload))
    try:
        return [*lost, _of_living(where, payload, node, late)]
    except Undecodable as error:
        if lost:
            error.rebirth_of = where.node
        raise


def _of_living(where: Topic, payload: pb.Payload, node: _Node, late: bool) -> Event:
    """What a message of a living edge node says, its sequence number counted."""
    at_ms = _at(payload)
    if where.type is MessageType.DBIRTH:
        return _device_birth(where, payload, node, at_ms)
    if where.device not in node.metrics:
        raise DataBeforeBirth(f"{where.type} of {where.device} before its DBIRTH", where.node)
    if where.type is MessageType.DDEATH:
        _forget(node, where.device)
        return DeviceDied(where.node, where.device or "", at_ms)
    metrics = _data(payload, where, node)
    if where.device is None:
        return NodeData(where.node, at_ms, metrics, late)
    return DeviceData(where.node, where.device, at_ms, metrics, late)


def _seq(payload: pb.Payload) -> int:
    if not payload.HasField("seq") or payload.seq > 255:
        raise Undecodable("a payload without a sequence number in 0..255")
    return payload.seq


def _at(payload: pb.Payload) -> int:
    if not payload.HasField("timestamp"):
        raise Undecodable("a payload without a timestamp")
    return payload.timestamp


def _count(name: NodeId, node: _Node, seq: int) -> tuple[bool, list[RebirthNeeded]]:
    """Whether a message is late, and what its sequence number says about lost ones."""
    ahead = (seq - node.next_seq) % 256
    if ahead >= 256 - LATE:
        return True, []
    events: list[RebirthNeeded] = []
    if ahead:
        reason = f"sequence {seq} came where {node.next_seq} was expected"
        events.append(RebirthNeeded(name, reason))
    node.next_seq = (seq + 1) % 256
    return False, events


def _node_birth(where: Topic, payload: pb.Payload, state: HostState) -> list[Event]:
    node = _Node(bd_seq=None, next_seq=(_seq(payload) + 1) % 256)
    at_ms = _at(payload)
    metrics = _birth(payload, None, node)
    bd_seq = metrics.get(BD_SEQ)
    node.bd_seq = bd_seq.value if bd_seq is not None and isinstance(bd_seq.value, int) else None
    state.nodes[where.node] = node
    return [NodeBorn(where.node, at_ms, metrics)]


def _node_death(where: Topic, payload: pb.Payload, state: HostState) -> list[Event]:
    """The death of a session that has been replaced (its `bdSeq` is another) is no news."""
    node = state.nodes.get(where.node)
    if node is None:
        return []
    for metric in payload.metrics:
        if _text(metric) == BD_SEQ and metric.HasField("long_value") and metric.long_value != node.bd_seq:
            return []
    del state.nodes[where.node]
    return [NodeDied(where.node, node.devices)]


def _device_birth(where: Topic, payload: pb.Payload, node: _Node, at_ms: int) -> DeviceBorn:
    before = (dict(node.aliases), dict(node.metrics))
    _forget(node, where.device)
    try:
        metrics = _birth(payload, where.device, node)
    except Undecodable:
        node.aliases, node.metrics = before
        raise
    return DeviceBorn(where.node, where.device or "", at_ms, metrics)


def _forget(node: _Node, device: str | None) -> None:
    node.metrics.pop(device, None)
    node.aliases = {alias: entry for alias, entry in node.aliases.items() if entry[0] != device}


def _birth(payload: pb.Payload, device: str | None, node: _Node) -> dict[str, Metric]:
    """Take what a birth says into `node`; the values in it."""
    specs: dict[str, MetricSpec] = {}
    metrics: dict[str, Metric] = {}
    for metric in payload.metrics:
        name = _text(metric)
        if not name or not metric.HasField("datatype"):
            raise Undecodable("a birth's metric needs a name and a datatype")
        if name in specs:
            raise Undecodable(f"the metric {name!r} is there twice")
        spec = specs[name] = MetricSpec(name, datatype_of(metric.datatype))
        if metric.HasField("alias"):
            if metric.alias in node.aliases:
                raise Undecodable(f"the alias {metric.alias} stands for two metrics")
            node.aliases[metric.alias] = (device, spec)
        metrics[name] = _metric(metric, spec)
    node.metrics[device] = specs
    return metrics


def _data(payload: pb.Payload, where: Topic, node: _Node) -> dict[str, Metric]:
    named = node.metrics[where.device]
    metrics: dict[str, Metric] = {}
    for metric in payload.metrics:
        if metric.HasField("alias"):
            device, spec = node.aliases.get(metric.alias, (None, None))
            if spec is None or device != where.device:
                raise UnknownAlias(f"alias {metric.alias} is not in the birth", where.node)
        else:
            spec = named.get(_text(metric))
            if spec is None:
                raise UnknownAlias(f"the metric {_text(metric)!r} is not in the birth", where.node)
        if metric.HasField("datatype") and metric.datatype != spec.datatype:
            raise Undecodable(f"{spec.name} was born as {spec.datatype.name}, not as {metric.datatype}")
        metrics[spec.name] = _metric(metric, spec)
    return metrics


def _metric(metric: pb.Metric, spec: MetricSpec) -> Metric:
    try:
        value = read_value(metric, spec.datatype)
    except Undecodable as error:
        raise Undecodable(f"{spec.name}: {error.detail}") from error
    return Metric(
        name=spec.name,
        datatype=spec.datatype,
        value=value,
        at_ms=metric.timestamp if metric.HasField("timestamp") else None,
        alias=metric.alias if metric.HasField("alias") else None,
        historical=metric.is_historical,
    )


def _text(metric: pb.Metric) -> str:
    """The metric's name. Proto2 does not check that a string is UTF-8; one that is not comes as bytes."""
    name: object = metric.name
    if not isinstance(name, str):
        raise Undecodable(f"a metric's name is not UTF-8: {name!r}")
    return name
