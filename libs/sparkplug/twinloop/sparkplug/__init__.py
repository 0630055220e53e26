"""Sparkplug B 3.0, both sides of it, without any I/O.

A host:

    state = HostState()
    for event in decode(topic, payload, state):   # DeviceBorn, DeviceData, NodeDied, RebirthNeeded, ...
        ...

`decode` raises `Undecodable`, `DataBeforeBirth` or `UnknownAlias`, all of them `SparkplugError`; where
`error.rebirth_of` is a `NodeId`, or an event is `RebirthNeeded`, send `encode_rebirth_command(at_ms=...)`
to `str(Topic(node, MessageType.NCMD))` with QoS 0, not retained. Arrays of numbers are read-only numpy views.

An edge node: `EdgeSession`, whose `births`, `data` and `node_death` form the messages to send.

Whether the host is there: it says so by `HostSession`, and an edge node whose primary host it is follows that
by `Primary`.
"""

from twinloop.sparkplug.datatypes import Array, DataType, Value
from twinloop.sparkplug.edge import EdgeSession, Message
from twinloop.sparkplug.errors import DataBeforeBirth, SparkplugError, Undecodable, UnknownAlias
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
from twinloop.sparkplug.host import HostState, decode
from twinloop.sparkplug.nodes import NodeId
from twinloop.sparkplug.payloads import Metric, MetricSpec, asks_for_rebirth, encode_rebirth_command
from twinloop.sparkplug.primary import Act, Primary
from twinloop.sparkplug.state import HostSession, Reply, State, encode_state, parse_state
from twinloop.sparkplug.topics import (
    MessageType,
    Topic,
    host_subscriptions,
    is_state_topic,
    parse_topic,
    state_topic,
)

__all__ = [
    "Act",
    "Array",
    "DataBeforeBirth",
    "DataType",
    "DeviceBorn",
    "DeviceData",
    "DeviceDied",
    "EdgeSession",
    "Event",
    "HostSession",
    "HostState",
    "Message",
    "MessageType",
    "Metric",
    "MetricSpec",
    "NodeBorn",
    "NodeData",
    "NodeDied",
    "NodeId",
    "Primary",
    "RebirthNeeded",
    "Reply",
    "SparkplugError",
    "State",
    "Topic",
    "Undecodable",
    "UnknownAlias",
    "Value",
    "asks_for_rebirth",
    "decode",
    "encode_rebirth_command",
    "encode_state",
    "host_subscriptions",
    "is_state_topic",
    "parse_state",
    "parse_topic",
    "state_topic",
]
