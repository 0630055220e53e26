"""The edge node's side of a session: assigns aliases, counts `seq` and `bdSeq`, and forms every message.

Nothing is sent here. The order of one session: `will()` goes into CONNECT, `births()` right after it and on
each rebirth command, then `data()`; `node_death()` before a deliberate disconnect; `next_session()` before
the next CONNECT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from twinloop.sparkplug.datatypes import DataType, Value
from twinloop.sparkplug.nodes import NodeId
from twinloop.sparkplug.payloads import (
    BD_SEQ,
    REBIRTH,
    Metric,
    MetricSpec,
    encode_birth,
    encode_data,
    encode_device_death,
    encode_node_death,
)
from twinloop.sparkplug.topics import MessageType, Topic


@dataclass(frozen=True, slots=True)
class Message:
    """An MQTT message to be sent. QoS 1 have a will and a host's STATE, which alone is retained."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


class EdgeSession:
    """One edge node and its devices.

    `devices` gives each one's metrics; aliases are assigned in that order and stay the same over rebirths and
    sessions. `bd_seq` is the first session's number.
    """

    def __init__(self, node: NodeId, devices: Mapping[str, Sequence[MetricSpec]], bd_seq: int = 0) -> None:
        self._node = node
        self._bd_seq = bd_seq % 256
        self._seq = 0
        self._alias: dict[tuple[str, str], int] = {}
        self._specs: dict[str, dict[str, MetricSpec]] = {}
        for device, specs in devices.items():
            self._specs[device] = {spec.name: spec for spec in specs}
            if len(self._specs[device]) != len(specs):
                raise ValueError(f"{device} has two metrics of one name")
            for spec in specs:
                self._alias[device, spec.name] = len(self._alias) + 1

    @property
    def bd_seq(self) -> int:
        """The number that ties this session's NDEATH to its NBIRTH, 0..255."""
        return self._bd_seq

    @property
    def command_topic(self) -> str:
        """Where a host's commands to this edge node arrive."""
        return str(Topic(self._node, MessageType.NCMD))

    def next_session(self) -> None:
        """Count `bdSeq` on; call before each further CONNECT."""
        self._bd_seq = (self._bd_seq + 1) % 256

    def will(self, *, at_ms: int) -> Message:
        """The NDEATH for CONNECT."""
        return replace(self.node_death(at_ms=at_ms), qos=1)

    def node_death(self, *, at_ms: int) -> Message:
        """The same NDEATH, sent before a deliberate disconnect."""
        return Message(self._topic(MessageType.NDEATH), encode_node_death(bd_seq=self._bd_seq, at_ms=at_ms))

    def births(self, values: Mapping[str, Mapping[str, Value]], *, at_ms: int) -> list[Message]:
        """The NBIRTH and one DBIRTH a device.

        `values`: by device and metric; a metric without one is born null.
        """
        self._seq = 0
        own = [
            Metric(BD_SEQ, DataType.INT64, self._bd_seq, at_ms),
            Metric(REBIRTH, DataType.BOOLEAN, False, at_ms),
        ]
        birth = encode_birth(own, at_ms=at_ms, seq=self._next_seq())
        messages = [Message(self._topic(MessageType.NBIRTH), birth)]
        for device, specs in self._specs.items():
            known = values.get(device, {})
            metrics = [self._metric(device, name, known.get(name), at_ms) for name in specs]
            payload = encode_birth(metrics, at_ms=at_ms, seq=self._next_seq())
            messages.append(Message(self._topic(MessageType.DBIRTH, device), payload))
        return messages

    def data(
        self,
        device: str,
        values: Mapping[str, Value],
        *,
        at_ms: int,
        captured_ms: int | None = None,
        historical: bool = False,
    ) -> Message:
        """A DDATA with these metrics of `device`, captured at `captured_ms` (when not given, at `at_ms`).

        `historical`: they could not be sent when they were captured, and are not the values of now. Raises
        `KeyError` for a device or metric that the births do not have, `ValueError` for a value that is not of
        its metric's datatype.
        """
        captured = at_ms if captured_ms is None else captured_ms
        metrics = [self._metric(device, name, value, captured, historical) for name, value in values.items()]
        payload = encode_data(metrics, at_ms=at_ms, seq=self._next_seq())
        return Message(self._topic(MessageType.DDATA, device), payload)

    def device_death(self, device: str, *, at_ms: int) -> Message:
        """A DDEATH of `device`."""
        payload = encode_device_death(at_ms=at_ms, seq=self._next_seq())
        return Message(self._topic(MessageType.DDEATH, device), payload)

    def _metric(self, device: str, name: str, value: Value, at_ms: int, historical: bool = False) -> Metric:
        spec = self._specs[device][name]
        return Metric(name, spec.datatype, value, at_ms, self._alias[device, name], historical)

    def _topic(self, kind: MessageType, device: str | None = None) -> str:
        return str(Topic(self._node, kind, device))

    def _next_seq(self) -> int:
        seq, self._seq = self._seq, (self._seq + 1) % 256
        return seq
