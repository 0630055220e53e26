"""What the rest of `line` needs of the kill switch and the heartbeat."""

from __future__ import annotations

from typing import Final, Protocol

from twinloop.line.plc import Device

SOURCE: Final = "line"
"""This service's name, as a writer of events and as somebody who acts."""


class Stops(Protocol):
    """The kill switch."""

    def in_force(self, asset: str) -> str | None:
        """Why nothing may be commanded to `asset`, or `None`."""
        ...


class Link(Protocol):
    """The heartbeat with the stations."""

    def problem(self, asset: str) -> str | None:
        """Why nobody may rely on the connection to `asset`, or `None`."""
        ...

    def settled(self, asset: str, device: Device) -> None:
        """A command of ours has ended; `device` is what was read then."""
        ...
