"""What a host learns from a message. `at_ms` is when it was sent: milliseconds since 1970, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from twinloop.sparkplug.nodes import NodeId
from twinloop.sparkplug.payloads import Metric


@dataclass(frozen=True, slots=True, eq=False)
class NodeBorn:
    """An edge node said what it is. Its devices are gone until each one's birth, which follows."""

    node: NodeId
    at_ms: int
    metrics: Mapping[str, Metric]


@dataclass(frozen=True, slots=True, eq=False)
class NodeData:
    """New values of metrics of the edge node itself."""

    node: NodeId
    at_ms: int
    metrics: Mapping[str, Metric]
    late: bool = False


@dataclass(frozen=True, slots=True)
class NodeDied:
    """An edge node lost its connection: all values of it and of `devices` are stale."""

    node: NodeId
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class DeviceBorn:
    """A device said what it is; `metrics` holds the values it had then."""

    node: NodeId
    device: str
    at_ms: int
    metrics: Mapping[str, Metric]

    @property
    def asset(self) -> str:
        """The device's ISA-95 path."""
        return self.node.asset(self.device)


@dataclass(frozen=True, slots=True, eq=False)
class DeviceData:
    """New values of metrics of a device.

    `late`: the sequence number says that this message is a repeat or was overtaken by others.
    """

    node: NodeId
    device: str
    at_ms: int
    metrics: Mapping[str, Metric]
    late: bool = False

    @property
    def asset(self) -> str:
        """The device's ISA-95 path."""
        return self.node.asset(self.device)


@dataclass(frozen=True, slots=True)
class DeviceDied:
    """The edge node lost a device: all its values are stale."""

    node: NodeId
    device: str
    at_ms: int

    @property
    def asset(self) -> str:
        """The device's ISA-95 path."""
        return self.node.asset(self.device)


@dataclass(frozen=True, slots=True)
class RebirthNeeded:
    """Messages of this edge node were lost: send it an NCMD (`encode_rebirth_command`), not too often."""

    node: NodeId
    reason: str


Event: TypeAlias = NodeBorn | NodeData | NodeDied | DeviceBorn | DeviceData | DeviceDied | RebirthNeeded
