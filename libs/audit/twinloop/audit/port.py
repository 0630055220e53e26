"""What a service needs of its audit store; `log.AuditLog` is the real one. Imports no input or output."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from twinloop.contracts.audit import AuditEntry


class Audit(Protocol):
    """Where every act is written down before it is done."""

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
        """Write one entry; it is on the disk when this returns. Raises `AuditAway`: then it is not written,
        and what it is about must not be done."""
        ...
