"""Follows the verdicts of trials, and ends those that have shown enough."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError

from twinloop.audit.errors import AuditAway
from twinloop.contracts.codec import Undecodable, decode
from twinloop.contracts.events import Verdict
from twinloop.contracts.models import ModelRoute
from twinloop.contracts.topics import SCORES
from twinloop.modelops.desk import Desk
from twinloop.modelops.errors import ModelopsError
from twinloop.modelops.loading import Keeper
from twinloop.modelops.metrics import Metrics
from twinloop.modelops.pairs import Comparison
from twinloop.modelops.routes import Routes
from twinloop.modelops.trial import Finding, Limits, Outcome, judge
from twinloop.modelops.trials import Trials
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

_POLL_MS = 200
_BEFORE = timedelta(seconds=60)
"""A verdict may be older than its record, and clocks differ."""


class Watch:
    """All trials of the routes in force."""

    def __init__(
        self, routes: Routes, trials: Trials, desk: Desk, keeper: Keeper, limits: Limits, metrics: Metrics
    ) -> None:
        self._routes = routes
        self._trials = trials
        self._desk = desk
        self._keeper = keeper
        self._limits = limits
        self._metrics = metrics

    def outcome(self, scope: str) -> tuple[Comparison, Outcome] | None:
        """What the trial of a scope has shown, if there is one."""
        trial = self._trials.of(scope)
        return None if trial is None or trial.outcome is None else (trial.comparison, trial.outcome)

    async def run(self, client: AIOKafkaConsumer, stopping: asyncio.Event) -> None:
        """Read verdicts, from the beginning of the oldest trial, and judge after each batch."""
        self.sync()
        await seek(client, [trial.comparison.route for _, trial in self._trials])
        while not stopping.is_set():
            batches = (await client.getmany(timeout_ms=_POLL_MS)).values()
            self.sync()
            for batch in batches:
                self.take(batch)
            await self.judge()

    def sync(self) -> None:
        """Follow the trials that there are now."""
        self._trials.sync(self._routes.known)
        self._metrics.routes.set(len(self._routes.known))
        self._metrics.trials.set(len(self._trials))

    def take(self, batch: Iterable[ConsumerRecord]) -> None:
        """Verdicts, each to the trial of its scope."""
        if not self._trials:
            return
        for record in batch:
            try:
                verdict: Verdict = decode(SCORES, record.value or b"")
            except Undecodable:
                self._metrics.unreadable.inc()
            else:
                self._trials.take(verdict)

    async def judge(self) -> None:
        """End what has shown enough. What cannot be ended now is tried again after the next batch."""
        for _, trial in self._trials:
            comparison = trial.comparison
            sick = self._keeper.sick(comparison.trial)
            if self._keeper.sick(comparison.route.contract) is not None:
                sick = None  # it is not this version that is to blame
            outcome = trial.outcome = judge(comparison, *trial.used(), self._limits, sick)
            auto = comparison.route.trial is not None and comparison.route.trial.auto
            if outcome.finding is Finding.STOP or (outcome.finding is Finding.MAY_PASS and auto):
                await self._conclude(comparison.route, outcome)
        self._show()

    async def _conclude(self, route: ModelRoute, outcome: Outcome) -> None:
        promote = outcome.finding is Finding.MAY_PASS
        try:
            await self._desk.conclude(route, promote=promote, why=outcome.why)
        except (ModelopsError, AuditAway, KafkaError) as error:
            log.error("a trial cannot be ended", scope=route.scope, problem=str(error))
        else:
            log.warning("a trial is over", scope=route.scope, promoted=promote, why=outcome.why)

    def _show(self) -> None:
        tallies = [one.comparison.tally for _, one in self._trials]
        for name, values in {
            "both": [one.both for one in tallies],
            "serving": [one.only_serving for one in tallies],
            "trial": [one.only_trial for one in tallies],
            "neither": [one.neither for one in tallies],
        }.items():
            self._metrics.pairs.labels(name).set(sum(values))
        self._metrics.unpaired.set(sum(one.alone for one in tallies))


async def seek(client: AIOKafkaConsumer, trials: Iterable[ModelRoute]) -> None:
    """Where the oldest trial began; without one, the end."""
    begun: list[datetime] = [one.trial.begun for one in trials if one.trial and one.trial.begun]
    partitions = list(client.assignment())
    if not begun:
        await client.seek_to_end(*partitions)
        return
    at_ms = int((min(begun) - _BEFORE).timestamp() * 1000)
    for partition, found in (await client.offsets_for_times(dict.fromkeys(partitions, at_ms))).items():
        if found is None:
            await client.seek_to_end(partition)
        else:
            client.seek(partition, found.offset)
