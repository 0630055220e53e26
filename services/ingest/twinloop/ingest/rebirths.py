"""When to ask an edge node for its births.

A request is a QoS 0 message that may be lost, and a node may be too busy to answer: it is repeated, at
doubling intervals, until the birth comes or the node is known to be dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from twinloop.sparkplug import NodeId

_LONGEST_S = 60.0


@dataclass(slots=True)
class _Request:
    not_before: datetime
    interval_s: float


class Rebirths:
    """Whom to ask, and when. `interval_s`: how long to wait for an answer to the first request."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._wanted: dict[NodeId, _Request] = {}

    def want(self, node: NodeId, now: datetime) -> None:
        """A birth of `node` is missing."""
        self._wanted.setdefault(node, _Request(now, self._interval_s))

    def forget(self, node: NodeId) -> None:
        """The birth has come, or the node is dead: it will send one of its own accord."""
        self._wanted.pop(node, None)

    def due(self, now: datetime) -> list[NodeId]:
        """The nodes to ask now; each is due again after its interval, which doubles up to a minute."""
        due = [node for node, request in self._wanted.items() if request.not_before <= now]
        for node in due:
            request = self._wanted[node]
            request.not_before = now + timedelta(seconds=request.interval_s)
            request.interval_s = min(2 * request.interval_s, _LONGEST_S)
        return due
