"""An edge node with a primary host: births and data only while that host is online.

    primary, act = primary.heard(state)

Until the host has spoken in this MQTT session, and while it is offline, the edge node sends nothing and
stores what it has to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from twinloop.sparkplug.state import State


class Act(Enum):
    """What an edge node does: nothing; send its births, and then what it has stored; or NDEATH, disconnect
    and connect again."""

    NOTHING = auto()
    BIRTH = auto()
    DEATH = auto()


@dataclass(frozen=True, slots=True)
class Primary:
    """What an edge node knows of its primary host.

    `online`: it has said so in this MQTT session. `at_ms`: the time of its newest STATE, `None` before any.
    """

    online: bool = False
    at_ms: int | None = None

    def heard(self, state: State) -> tuple[Primary, Act]:
        """What is known after `state`, and what to do. A STATE older than what is known is ignored.

        A host that is online by a later session than the one known was away, though nobody said so: what it
        knew of births, and what was on its way to it, may be lost. The births are due again.
        """
        if self.at_ms is not None and state.at_ms < self.at_ms:
            return self, Act.NOTHING
        after = Primary(state.online, state.at_ms)
        if state.online:
            return after, Act.NOTHING if after == self else Act.BIRTH
        return after, Act.DEATH if self.online else Act.NOTHING

    def connected(self) -> Primary:
        """At the begin of an MQTT session: whether the host is there will be told, and nothing older."""
        return Primary(False, self.at_ms)
