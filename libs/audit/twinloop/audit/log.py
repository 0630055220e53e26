"""The audit store of a service: entries of many tasks with one fsync, and copies on the topic `audit`.

async with audit_log(folder, "line", clock) as audit:        # also while Kafka is away
    health.add("audit", audit.problem)
    async with audit.published(out):                         # copies, in the background
        entry = await audit.append(asset=..., who=..., what=..., reason=...)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from twinloop.audit.chain import Act, Head, entry_of
from twinloop.audit.errors import AuditAway, ChainBroken
from twinloop.audit.kept import Kept, keep, kept_of
from twinloop.audit.metrics import AuditMetrics
from twinloop.audit.patrol import Patrol
from twinloop.audit.store import NAME, AuditStore
from twinloop.contracts.audit import AuditEntry
from twinloop.contracts.codec import message
from twinloop.contracts.topics import AUDIT
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka.clients import Publisher
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

_LOOK_S: Final = 1.0
"""How often the store is looked at while nobody appends, and opened again while it is away."""
_PUBLISH_BYTES: Final = 256 * 1024
_AGAIN_S: Final = 1.0
_LAST_S: Final = 2.0
"""How long a service that stops waits for its last copies; what is left is published after its start."""

R = TypeVar("R")
_Waiting = tuple[Act, "asyncio.Future[AuditEntry]"]


class AuditLog:
    """Use `audit_log`. One event loop; its files are touched in a thread of its own."""

    def __init__(self, path: Path, chain: str, clock: Clock, metrics: AuditMetrics | None) -> None:
        self.chain = chain
        self._path = path
        self._clock = clock
        self._metrics = metrics
        self._store: AuditStore | None = None
        self._head: Head | None = None  # the newest entry of this process's store, also while that is away
        self._problem: str | None = "the audit store is not open yet"
        self._patrol = Patrol(chain)
        self._cannot_continue = False
        self._waiting: list[_Waiting] = []
        self._flushing: asyncio.Task[None] | None = None
        self._written = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"audit-{chain}")

    def problem(self) -> str | None:
        """Health check, and what to ask before anything is done: why nothing can be written down."""
        return self._problem

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
        """Write one entry (fields as in `AuditEntry`; `at` is now by default); it is on the disk when this
        returns. Entries that wait at the same time share one fsync. Raises `AuditAway`: then it is not
        written, and what it was about must not be done.

        A caller that is cancelled leaves it open whether its entry is written.
        """
        act = Act(
            at=at or self._clock.now(),
            asset=asset,
            who=who,
            what=what,
            old=old,
            new=new,
            reason=reason,
            result=result,
            change_id=change_id,
        )
        written: asyncio.Future[AuditEntry] = asyncio.get_running_loop().create_future()
        self._waiting.append((act, written))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush(), name=f"audit {self.chain}")
        return await written

    @contextlib.asynccontextmanager
    async def published(self, out: Publisher) -> AsyncIterator[None]:
        """Copy entries to the topic `audit` for the time of the context, from where an earlier process
        stopped. At its end the last ones are given a moment."""
        last = asyncio.Event()
        copying = asyncio.create_task(self._publish(out, last), name=f"audit copies of {self.chain}")
        try:
            yield
        finally:
            last.set()
            self._written.set()
            await asyncio.wait({copying}, timeout=_LAST_S)
            copying.cancel()
            await asyncio.gather(copying, return_exceptions=True)

    async def keep(self) -> None:
        """Look at the store every second, open it again while it is away; and read again a piece of what was
        written before. For ever."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._in_thread(self._look)
            await self._in_thread(self._patrol.step, self._store)
            if self._metrics is not None:
                self._metrics.broken.set(self._cannot_continue or self._patrol.broken)

    async def open(self) -> None:
        """Try once; `problem` says how it went."""
        await self._in_thread(self._look)

    async def close(self) -> None:
        """Write what waits, and let others have the file."""
        while self._flushing is not None:
            await asyncio.wait({self._flushing})
        await self._in_thread(self._let_go)
        self._thread.shutdown()

    async def _flush(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                try:
                    entries = await self._in_thread(self._write, [act for act, _ in waiting])
                except Exception as error:  # noqa: BLE001  # whatever it is, nobody may wait for ever
                    for _, written in waiting:
                        if not written.done():
                            written.set_exception(error)
                else:
                    for entry, (_, written) in zip(entries, waiting, strict=True):
                        if not written.done():
                            written.set_result(entry)
                    self._written.set()
        finally:
            self._flushing = None

    async def _publish(self, out: Publisher, last: asyncio.Event) -> None:
        at = kept_of(self._path)
        while True:
            self._written.clear()
            try:
                at, more = await self._publish_some(out, at)
            except Exception as error:  # noqa: BLE001  # whatever it is, the entries are safe and copies can wait
                log.warning("audit copies wait", chain=self.chain, problem=str(error), again_in_s=_AGAIN_S)
                more = False
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(last.wait(), _AGAIN_S)
                if last.is_set():
                    return
                continue
            if more:
                continue
            if last.is_set() and not self._written.is_set():
                return
            await self._written.wait()

    async def _publish_some(self, out: Publisher, at: Kept | None) -> tuple[Kept | None, bool]:
        """Copies of the next entries; returns how far they go, and whether there may be more."""
        offset = at.offset if at is not None else 0
        data = await self._in_thread(self._read, offset)
        if not data:
            return at, False
        entries = [entry_of(line) for line in data.split(b"\n")[:-1]]
        await out.publish([message(AUDIT, one, source=self.chain) for one in entries])
        newest = entries[-1]
        at = Kept(offset + len(data), newest.number, newest.digest)
        await self._in_thread(keep, self._path, at)
        if self._metrics is not None:
            self._metrics.unpublished.set((self._head.number if self._head else 0) - newest.number)
        return at, True

    # ---- in the thread

    def _write(self, acts: list[Act]) -> list[AuditEntry]:
        try:
            store = self._opened()
            if self._metrics is None:
                entries = store.append_all(acts)
            else:
                with self._metrics.seconds.time():
                    entries = store.append_all(acts)
                self._metrics.entries.inc(len(entries))
        except AuditAway as error:
            self._away(error)
            raise
        self._head = store.head
        return entries

    def _look(self) -> None:
        try:
            self._opened().check()
        except AuditAway as error:
            self._away(error)

    def _opened(self) -> AuditStore:
        """The store, opened again when it was away: then by an entry, which proves that it can be written."""
        if self._store is not None:
            return self._store
        store = AuditStore.open(self._path, self.chain, clock=self._clock, after=self._head)
        if self._head is not None:
            store.append(
                Act(
                    at=self._clock.now(),
                    asset="",
                    who=self.chain,
                    what="resumed",
                    reason=f"the audit store was away: {self._problem}",
                )
            )
        self._store, self._head, self._problem = store, store.head, None
        self._cannot_continue = False
        if self._metrics is not None:
            self._metrics.away.set(0)
        return store

    def _away(self, error: AuditAway) -> None:
        if str(error) != self._problem:
            log.error("audit store is away: nothing may be done", chain=self.chain, problem=str(error))
        self._problem = str(error)
        self._cannot_continue = isinstance(error, ChainBroken)
        self._let_go()
        if self._metrics is not None:
            self._metrics.away.set(1)

    def _let_go(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _read(self, offset: int) -> bytes:
        return self._opened().read(offset, _PUBLISH_BYTES)

    # ---- and what brings them there

    async def _in_thread(self, what: Callable[..., R], *args: object) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(what, *args))


@contextlib.asynccontextmanager
async def audit_log(
    folder: Path, chain: str, clock: Clock, *, metrics: AuditMetrics | None = None
) -> AsyncIterator[AuditLog]:
    """The log of `chain` in `folder`, for the time of the context.

    A store that cannot be opened raises nothing here: `problem` says so, `append` raises `AuditAway`, and
    it is opened as soon as that works. `chain` is the service's name; processes at once need different
    ones.
    """
    if not NAME.fullmatch(chain):
        raise ValueError(f"{chain!r} is no name of a chain: small letters, digits, '.', '_' and '-'")
    audit = AuditLog(folder / f"{chain}.jsonl", chain, clock, metrics)
    await audit.open()
    keeping = asyncio.create_task(audit.keep(), name=f"audit store of {chain}")
    try:
        yield audit
    finally:
        keeping.cancel()
        (ended,) = await asyncio.gather(keeping, return_exceptions=True)
        await audit.close()
        if isinstance(ended, Exception):
            raise ended
