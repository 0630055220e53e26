"""What happens, for whoever follows it: every client has a queue of its own, and who is slow is let go.

A slow client must never hold up the twin, nor make it remember without end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from twinloop.twin.metrics import Metrics

_ENCODER = msgspec.json.Encoder()


class TooSlow(Exception):
    """Raised to a client whose queue is full. Operator action: read faster, or ask over HTTP."""


class Client:
    """One follower. `room` is how many messages may wait for it."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._waiting: deque[str] = deque()
        self._something = asyncio.Event()
        self.slow = asyncio.Event()

    def offer(self, text: str) -> None:
        """Leave a message. With no room for it, all are dropped and the client is `slow`."""
        if self.slow.is_set():
            return
        if len(self._waiting) >= self._room:
            self._waiting.clear()
            self.slow.set()
        else:
            self._waiting.append(text)
        self._something.set()

    async def next(self) -> str:
        """The next message, in order. Raises `TooSlow`, from then on for ever."""
        while not self._waiting:
            if self.slow.is_set():
                raise TooSlow(f"you did not read: more than {self._room} messages waited, and are dropped")
            self._something.clear()
            await self._something.wait()
        return self._waiting.popleft()


class Hub:
    """All followers."""

    def __init__(self, room: int, metrics: Metrics) -> None:
        self._room = room
        self._metrics = metrics
        self._clients: set[Client] = set()

    def tell(self, kind: str, body: Any) -> None:
        """Tell every follower `{"kind": kind, kind: body}`. Never waits."""
        if not self._clients:
            return
        text = told(kind, body)
        for one in self._clients:
            before = one.slow.is_set()
            one.offer(text)
            if one.slow.is_set() and not before:
                self._metrics.dropped_clients.inc()

    @contextlib.contextmanager
    def follower(self) -> Iterator[Client]:
        """A follower, for the time of the context."""
        client = Client(self._room)
        self._clients.add(client)
        self._metrics.clients.set(len(self._clients))
        try:
            yield client
        finally:
            self._clients.discard(client)
            self._metrics.clients.set(len(self._clients))


def told(kind: str, body: Any) -> str:
    """A message as it goes to a client."""
    return _ENCODER.encode({"kind": kind, kind: body}).decode()
