"""Time as a dependency, so that decisions can be tested at any instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the present instant, in UTC."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The present instant, aware, UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that moves only when told, for tests."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """The instant last set."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on (or, with a negative number, back)."""
        self._now += timedelta(seconds=seconds)
