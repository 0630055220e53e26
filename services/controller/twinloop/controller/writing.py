"""Bringing decisions into the audit store, in their order.

What is published is in the store before that. A refusal is not published, and its entry not waited for: with
many assets, each fsync in between would hold up all of them. It is on the disk within milliseconds, together
with others, and a refusal that a crash takes with it is decided again with its record.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from twinloop.audit.chain import Act
from twinloop.audit.port import Audit
from twinloop.contracts.events import Event
from twinloop.controller.audited import acts
from twinloop.controller.metrics import Metrics
from twinloop.controller.state import Outcome, Station
from twinloop.runtime.clock import Clock
from twinloop.runtime.observability import logging

log = logging.logger(__name__)


class Writing:
    """Writes into `auditor`, and counts what could not be written."""

    def __init__(self, auditor: Audit, metrics: Metrics, clock: Clock) -> None:
        self._auditor = auditor
        self._metrics = metrics
        self._clock = clock
        self._behind: set[asyncio.Task[None]] = set()

    def away(self) -> str | None:
        """Why nothing can be written down, or `None`."""
        return self._auditor.problem()

    async def write(self, station: Station, outcomes: tuple[Outcome, ...]) -> None:
        """Write down `outcomes`, which led to `station`. Raises `AuditAway`: then they are not published."""
        entries = acts(station, outcomes, self._clock.now())
        if not entries:
            return
        writing = asyncio.create_task(self._append(entries))
        if any(isinstance(one, Event) for one in outcomes):
            await writing
            return
        self._behind.add(writing)
        writing.add_done_callback(self._done)

    def leave_out(self, station: Station, outcomes: tuple[Outcome, ...]) -> None:
        """The store is away, and `outcomes` are what may be published all the same."""
        self._metrics.unaudited.inc(len(acts(station, outcomes, self._clock.now())))

    async def settled(self) -> None:
        """Wait for what is being written."""
        if self._behind:
            await asyncio.wait(self._behind)

    async def _append(self, entries: list[Act]) -> None:
        """All of them with one write."""
        await asyncio.gather(*(self._auditor.append(**asdict(one)) for one in entries))

    def _done(self, writing: asyncio.Task[None]) -> None:
        self._behind.discard(writing)
        if writing.cancelled():
            return
        error = writing.exception()
        if error is not None:
            self._metrics.unaudited.inc()
            log.error("a refusal could not be written down", problem=repr(error))
