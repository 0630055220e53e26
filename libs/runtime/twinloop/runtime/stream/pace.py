"""How fast the engine goes, and how it waits."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How the engine goes about its work. `poll_records`: at most so many records in a round; `depth`: rounds
    under way at a time in each stage, which bounds memory."""

    poll_records: int = 4000
    depth: int = 3
    poll_s: float = 0.1
    retry_s: float = 0.5
    """Between attempts at what failed: finishing a round, opening a partition."""
    fenced_s: float = 4.0
    """Before a partition that somebody else has fenced is opened again: by then the group has told whose it
    is. Longer than the group's heartbeat interval."""
    commit_every_s: float = 0.5
    """Positions that no messages go with are committed so often."""
    drain_s: float = 8.0
    """How long a rebalance waits for what is under way."""


async def pause_s(stopping: asyncio.Event, seconds: float) -> None:
    """Sleep, unless told to stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)
