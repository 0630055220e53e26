"""STATE: what a host application says of itself, so that edge nodes know whether anybody listens.

It is published on `spBv1.0/STATE/<host id>`, retained and with QoS 1, as JSON: `online` and `timestamp`. Will
and birth of a session carry the time of its CONNECT, so that a will which comes late is told from the birth
of the session after it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, auto

from twinloop.sparkplug.edge import Message
from twinloop.sparkplug.errors import Undecodable
from twinloop.sparkplug.topics import state_topic

_ONLINE = "online"
_TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class State:
    """Whether a host is there. `at_ms`: of its CONNECT, or of its deliberate end; ms since 1970, UTC."""

    online: bool
    at_ms: int


def encode_state(state: State) -> bytes:
    """The payload of a STATE message."""
    return json.dumps({_ONLINE: state.online, _TIMESTAMP: state.at_ms}).encode()


def parse_state(data: bytes) -> State:
    """What a STATE message says. Raises `Undecodable` when it is none; keys that are unknown are not."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Undecodable(f"a STATE that is no JSON: {error}") from error
    if not isinstance(told, dict):
        raise Undecodable("a STATE that is no JSON object")
    online, at_ms = told.get(_ONLINE), told.get(_TIMESTAMP)
    if not isinstance(online, bool):
        raise Undecodable("a STATE whose `online` is neither true nor false")
    if isinstance(at_ms, bool) or not isinstance(at_ms, int) or at_ms < 0:
        raise Undecodable("a STATE whose `timestamp` is no whole number of milliseconds since 1970")
    return State(online, at_ms)


class Reply(Enum):
    """What a host does about a STATE under its own id: nothing, send its birth again, or connect anew."""

    NOTHING = auto()
    BIRTH = auto()
    CONNECT = auto()


class HostSession:
    """What the host application `host` says of itself. Nothing is sent here.

    The order of one session: `will()` goes into CONNECT, `birth()` when the subscriptions are granted, and
    again when `heard` says so; `death()` before a deliberate disconnect.
    """

    def __init__(self, host: str) -> None:
        self._topic = state_topic(host)
        self._at_ms = 0
        self._newest_ms = -1
        self._online = False

    @property
    def online(self) -> bool:
        """True from the birth of a session to its death, whoever told of it."""
        return self._online

    @property
    def topic(self) -> str:
        """Where it is said, and where the host listens to itself."""
        return self._topic

    def will(self, *, at_ms: int) -> Message:
        """The death for CONNECT: a session begins.

        Its time is after all that was said before, by a clock that was ahead or by an earlier process: edge
        nodes do not believe what is older than what they know.
        """
        self._at_ms = max(at_ms, self._newest_ms + 1)
        self._online = False
        return self._message(State(False, self._at_ms))

    def birth(self) -> Message:
        """The host is online."""
        self._online = True
        return self._message(State(True, self._at_ms))

    def death(self, *, at_ms: int) -> Message:
        """The host goes, of its own accord."""
        self._online = False
        self._at_ms = max(at_ms, self._at_ms)
        return self._message(State(False, self._at_ms))

    def heard(self, data: bytes, *, retained: bool) -> Reply:
        """What to do about a STATE on `topic`. `retained`: it was said before this host listened.

        A later one makes edge nodes deaf to this session. When it was retained, or is a death (the will of
        a session before this one, by a clock that was ahead), this host begins a session after it. A later
        birth that comes while it listens is that of another host with this id, with whom nobody should fight
        about it. Raises `Undecodable`.
        """
        state = parse_state(data)
        self._newest_ms = max(self._newest_ms, state.at_ms)
        if state.at_ms > self._at_ms and (retained or not state.online):
            self._online = self._online and retained  # a death need not be said once more
            return Reply.CONNECT
        return Reply.BIRTH if self._online and not state.online else Reply.NOTHING

    def _message(self, state: State) -> Message:
        self._newest_ms = max(self._newest_ms, state.at_ms)
        return Message(self._topic, encode_state(state), qos=1, retain=True)
