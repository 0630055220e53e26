"""A state is renewed beside the one that works: it takes what that one took, then replaces it.

Nobody waits for that: one state at a time, in small pieces, in a bounded share of the time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from twinloop.runtime.observability import logging
from twinloop.runtime.stream.errors import StreamError
from twinloop.runtime.stream.pace import Pace, pause_s
from twinloop.runtime.stream.ports import Cluster, Reader, Record, State
from twinloop.runtime.stream.worker import Worker

log = logging.logger(__name__)

_PIECES = 16
"""A state is renewed in pieces of `poll_records` divided by this: what is new need not wait for long."""
_SHARE = 1 / 2
"""Of the time, at most so much goes into renewing."""

W = TypeVar("W")


class Renewals(Generic[W]):
    """Those of one member. `crashed` is told of what a state raises, which ends the member."""

    def __init__(
        self, cluster: Cluster, pace: Pace, stopping: asyncio.Event, crashed: Callable[[BaseException], None]
    ) -> None:
        self._cluster = cluster
        self._pace = pace
        self._stopping = stopping
        self._crashed = crashed
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        """Held by the one state that is being renewed."""

    def consider(self, worker: Worker[W]) -> None:
        """Have a state built beside the one that works, if that lacks something."""
        if worker.renewing is None and (fresh := worker.state.renewal()) is not None:
            worker.renewing = asyncio.ensure_future(self._renew(worker, fresh))
            self._tasks.add(worker.renewing)
            worker.renewing.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Leave off."""
        for task in self._tasks:
            task.cancel()

    async def _renew(self, worker: Worker[W], fresh: State[W]) -> None:
        """When it is its turn, give `fresh` what the working state has taken, and put it in its place."""
        try:
            async with self._turn, self._cluster.reader(worker.partition, fresh.position) as reader:
                begun = time.perf_counter()
                if await self._follow(worker, fresh, reader):
                    fresh.relieve(worker.state)  # at once: both have taken the same
                    worker.state = fresh
                    took_s = round(time.perf_counter() - begun, 3)
                    log.info("state renewed", partition=str(worker.partition), took_s=took_s)
        except StreamError as error:
            log.warning("a state cannot be renewed", partition=str(worker.partition), problem=str(error))
            await pause_s(self._stopping, self._pace.retry_s)
        except Exception as error:  # noqa: BLE001  # whatever a service's state may raise
            self._crashed(error)
        finally:
            worker.renewing = None

    async def _follow(self, worker: Worker[W], fresh: State[W], reader: Reader) -> bool:
        """Until `fresh` has taken what the working state has; whether it came to that."""
        piece = max(1, self._pace.poll_records // _PIECES)
        ahead = list[Record]()
        while fresh.position < worker.state.position:
            if worker.lost or self._stopping.is_set():
                return False
            due = [one for one in ahead if one.offset < worker.state.position]
            if due:
                begun = time.perf_counter()
                fresh.take(due)
                del ahead[: len(due)]
                await asyncio.sleep((time.perf_counter() - begun) * (1 / _SHARE - 1))
            else:
                ahead += await reader.read(self._pace.poll_s, piece)
        return not worker.lost
