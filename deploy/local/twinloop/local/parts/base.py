"""What the stack asks of everything that it starts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from twinloop.local.process import Command


class Part(ABC):
    """Something with a name that is started when what it needs is ready, and says when it is ready itself.

    The stack calls `prepare` once before each start, then `command`, then `ready` until it is true, the
    process ends, or `deadline_s` has passed. On the way down it calls `clean` after the process has
    ended.
    """

    name: str
    needs: Sequence[str] = ()
    deadline_s: float = 60.0
    grace_s: float = 8.0
    ends: bool = False  # True for a command that is ready when it has ended well

    @property
    def where(self) -> str:
        """Its address, for the person at the terminal."""
        return ""

    def prepare(self) -> Sequence[Command]:
        """Write what it needs to start; returns commands to run to their end before it (none, usually)."""
        return ()

    @abstractmethod
    def command(self) -> Command | None:
        """What to run; None for a part that runs elsewhere."""

    @abstractmethod
    async def ready(self) -> bool:
        """Ask it, by its own protocol, whether it is ready. May take a few seconds; does not raise."""

    def clean(self) -> None:  # noqa: B027
        """Remove what a killed process could not. Called also when it ended well."""


class Elsewhere(Part):
    """A part that somebody else runs: it is only asked whether it is ready."""

    deadline_s = 15.0

    def command(self) -> Command | None:
        return None
