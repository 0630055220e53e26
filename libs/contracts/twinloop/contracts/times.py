"""Unix nanoseconds, as telemetry carries them, and UTC datetimes, as events do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""A time in a record: it says its zone, or the record is none. Times without one cannot be compared."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(unix_ns: int) -> datetime:
    """The instant as a datetime, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=unix_ns // 1000)


def unix_ns(at: datetime) -> int:
    """Nanoseconds since 1970 of an aware datetime."""
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
