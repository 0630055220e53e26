"""The topic namespace: `spBv1.0/<group>/<message type>/<edge node>[/<device>]`, `spBv1.0/STATE/<host>`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from twinloop.sparkplug.errors import Undecodable
from twinloop.sparkplug.nodes import NodeId

NAMESPACE = "spBv1.0"
_STATE = f"{NAMESPACE}/STATE/"
_RESERVED = frozenset("+/#")


class MessageType(StrEnum):
    """The message types between an edge node and its hosts: N for the node itself, D for a device of it."""

    NBIRTH = "NBIRTH"
    NDATA = "NDATA"
    NDEATH = "NDEATH"
    NCMD = "NCMD"
    DBIRTH = "DBIRTH"
    DDATA = "DDATA"
    DDEATH = "DDEATH"
    DCMD = "DCMD"

    @property
    def of_device(self) -> bool:
        """True where the topic names a device."""
        return self.value.startswith("D")


@dataclass(frozen=True, slots=True)
class Topic:
    """A parsed topic; `str(topic)` builds it again. `device` is `None` for the node's own messages.

    Raises `ValueError` when a part is empty or holds one of `+ / #`, or a device is given for a node's
    message (or missing for a device's).
    """

    node: NodeId
    type: MessageType
    device: str | None = None

    def __post_init__(self) -> None:
        parts = [self.node.group, self.node.node, *([] if self.device is None else [self.device])]
        for part in parts:
            if not part or _RESERVED & set(part):
                raise ValueError(f"{part!r} cannot be a part of a Sparkplug topic")
        if self.type.of_device != (self.device is not None):
            raise ValueError(f"{self.type} {'needs a' if self.type.of_device else 'has no'} device")

    def __str__(self) -> str:
        device = "" if self.device is None else f"/{self.device}"
        return f"{NAMESPACE}/{self.node.group}/{self.type}/{self.node.node}{device}"


def parse_topic(topic: str) -> Topic:
    """The parts of `topic`. Raises `Undecodable` when it is no topic of an edge node or a device."""
    parts = topic.split("/")
    if len(parts) not in (4, 5) or parts[0] != NAMESPACE:
        raise Undecodable(f"{topic!r} is not {NAMESPACE}/<group>/<type>/<edge node>[/<device>]")
    try:
        return Topic(NodeId(parts[1], parts[3]), MessageType(parts[2]), parts[4] if len(parts) == 5 else None)
    except ValueError as error:
        raise Undecodable(f"{topic!r}: {error}") from error


def host_subscriptions(group: str) -> tuple[str, ...]:
    """The topic filters of a host that follows every edge node of `group`: births, data and deaths."""
    kinds = (kind for kind in MessageType if kind not in (MessageType.NCMD, MessageType.DCMD))
    return tuple(f"{NAMESPACE}/{group}/{kind}/{'+/+' if kind.of_device else '+'}" for kind in kinds)


def state_topic(host: str) -> str:
    """Where the host application `host` says whether it is online.

    Raises `ValueError` when `host` is empty or holds one of `+ / #`.
    """
    if not host or _RESERVED & set(host):
        raise ValueError(f"{host!r} cannot be a part of a Sparkplug topic")
    return _STATE + host


def is_state_topic(topic: str) -> bool:
    """True when `topic` is that of a host's STATE, whosoever."""
    return topic.startswith(_STATE)
