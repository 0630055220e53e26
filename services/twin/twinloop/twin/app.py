"""Wires the twin: what is observed, the log of changes, the judgement between them, and the API.

telemetry.factory, genealogy -> Observations --.
changes -> Ledger ------------------> foresee, judge -> changes: simulated, approved, rejected
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any, TypeVar

from twinloop.contracts.changes import Approved, ChangeEvent, Forecast, Proposed, Rejected, Simulated, State
from twinloop.contracts.codec import message
from twinloop.contracts.ids import event_id
from twinloop.contracts.topics import CHANGES
from twinloop.runtime import logging
from twinloop.runtime.clock import Clock
from twinloop.runtime.journal import journal
from twinloop.runtime.kafka import Publisher, consumer, publisher
from twinloop.runtime.metrics import ConsumerMetrics
from twinloop.runtime.service import Context
from twinloop.twin.api import make_api
from twinloop.twin.approve import APPROVER
from twinloop.twin.assets import TwinAssets
from twinloop.twin.judge import foresee, judge
from twinloop.twin.ledger import Change, Ledger
from twinloop.twin.metrics import Metrics
from twinloop.twin.models import Processes
from twinloop.twin.observe import Observations
from twinloop.twin.observers import OBSERVED, Observers
from twinloop.twin.settings import TwinSettings

log = logging.logger(__name__)

GROUP = SOURCE = "twin"
_POLL_MS = 50

E = TypeVar("E", bound=ChangeEvent)


async def main(settings: TwinSettings, context: Context, *, assets: TwinAssets) -> None:
    """Observe, and decide about each change once, until told to stop."""
    metrics, reading = Metrics(context.registry), ConsumerMetrics(context.registry, context.name)
    stack, stopping = context.stack, context.stopping
    out = await stack.enter_async_context(publisher(settings.kafka, settings.topic_prefix, stopping))
    processes = Processes(settings.models)
    observations = Observations({name: one.estimate.parts for name, one in assets.assets.items()})
    followed = await stack.enter_async_context(
        consumer(settings.kafka, OBSERVED, settings.topic_prefix, stopping, group=None, metrics=reading)
    )
    observers = Observers(followed, settings.topic_prefix, observations, metrics)
    context.health.add("observations", observers.problem)
    changes = await stack.enter_async_context(
        journal(
            settings,
            CHANGES,
            stopping,
            group=GROUP,
            new=Ledger,
            fold=Ledger.fold,
            session_timeout_s=settings.session_timeout_s,
            metrics=reading,
        )
    )
    context.health.add("changes", changes.problem)
    context.api = make_api(assets, observations, changes.states, processes)
    decider = Decider(assets, processes, observations, out, context.clock, metrics)
    async with asyncio.TaskGroup() as group:
        group.create_task(observers.run(settings.look_back_s, context.clock, stopping))
        while not stopping.is_set():
            now = context.clock.now()
            unreadable = await changes.read(_POLL_MS)
            metrics.dead_letters.inc(len(unreadable))
            await out.publish(one.letter(service=SOURCE, at=now) for one in unreadable)
            if observers.problem() is None:
                for ledger in changes.states():
                    for change in ledger.due():
                        if changes.holds(ledger):  # a rebalance may take it away between two decisions
                            await decider.decide(change, ledger)
            await changes.commit()


class Decider:
    """Brings a change from proposed to approved or rejected. What it publishes is folded at once."""

    def __init__(
        self,
        assets: TwinAssets,
        processes: Processes,
        observations: Observations,
        out: Publisher,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._assets = assets
        self._processes = processes
        self._observations = observations
        self._out = out
        self._clock = clock
        self._metrics = metrics

    async def decide(self, change: Change, ledger: Ledger) -> None:
        """Simulate and decide about a change that is due; one that was simulated before is only decided."""
        proposed, now = change.proposed, self._clock.now()
        asset = self._assets.assets.get(proposed.asset)
        if asset is None:
            return  # another twin's
        cause = change.steps[-1].event_id
        forecasts: tuple[Forecast, Forecast] | str | None
        if change.state is State.PROPOSED:
            with self._metrics.forecast_seconds.time():
                forecasts = foresee(
                    proposed,
                    self._observations.of(proposed.asset),
                    asset,
                    self._processes.of(asset.process),
                    now,
                )
            do_nothing, do_this = forecasts if isinstance(forecasts, tuple) else (None, None)
            cause = await self._tell(
                Simulated, ledger, proposed, cause, now, do_nothing=do_nothing, do_this=do_this
            )
        elif change.do_nothing is not None and change.do_this is not None:
            forecasts = (change.do_nothing, change.do_this)
        else:
            forecasts = None
        decision = judge(proposed, forecasts, asset, now)
        kind: type[Approved | Rejected] = Approved if decision.approved else Rejected
        await self._tell(
            kind, ledger, proposed, cause, self._clock.now(), approver=APPROVER, reason=decision.reason
        )

    async def _tell(
        self,
        kind: type[E],
        ledger: Ledger,
        proposed: Proposed,
        cause: str,
        at: datetime,
        **what: Any,
    ) -> str:
        """Publish, and return the event's id once it is acknowledged and folded."""
        name = str(kind.__struct_config__.tag)
        event: Any = kind(
            event_id=event_id(name, proposed.change_id),
            asset=proposed.asset,
            at=at,
            observed_at=proposed.observed_at,
            trace_id=proposed.trace_id,
            caused_by=cause,
            change_id=proposed.change_id,
            **what,
        )
        await self._out.publish([message(CHANGES, event, source=SOURCE)])
        ledger.fold(event)
        self._metrics.changes.labels(name).inc()
        log.info(
            "change",
            asset=event.asset,
            change=event.change_id,
            state=name,
            reason=what.get("reason"),
            trace_id=event.trace_id,
        )
        return str(event.event_id)
