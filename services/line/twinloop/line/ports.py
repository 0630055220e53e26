"""What the rest of `line` needs of the audit store, the kill switch and the heartbeat."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol

from twinloop.contracts.audit import AuditEntry
from twinloop.line.plc import Device

SOURCE: Final = "line"
"""This service's name, as a writer of events and as somebody who acts."""


class Audit(Protocol):
    """Where every act is written down; see `twinloop.audit.log.AuditLog`."""

    def problem(self) -> str | None:
        """Why nothing can be written down, or `None`."""
        ...

    async def append(
        self,
        *,
        asset: str,
        who: str,
        what: str,
        old: str = "",
        new: str = "",
        reason: str = "",
        result: str = "",
        change_id: str | None = None,
        at: datetime | None = None,
    ) -> AuditEntry:
        """On the disk when this returns. Raises `AuditAway`."""
        ...


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
