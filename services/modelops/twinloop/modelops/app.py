"""Wires modelops: the topic of models, the repository, Triton, persons, and what trials show.

persons -> api -> Staging -> repository, Triton        Keeper: what is listed is what Triton serves
              \\-> Desk -> audit store -> models         Uses:   what versions are asked
scores -> Watch (evidence) -> Desk
       -> DriftWatch -> alarms
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

from twinloop.audit.log import audit_log
from twinloop.audit.metrics import AuditMetrics
from twinloop.contracts.topics import MODELS, SCORES
from twinloop.modelops.api import make_api
from twinloop.modelops.desk import Desk
from twinloop.modelops.drift import Drift
from twinloop.modelops.drift_watch import DriftWatch
from twinloop.modelops.golden import Bounds
from twinloop.modelops.loading import Keeper
from twinloop.modelops.metrics import Metrics
from twinloop.modelops.plan import named
from twinloop.modelops.routes import RouteTable
from twinloop.modelops.settings import ModelopsSettings
from twinloop.modelops.shelf import Shelf, held
from twinloop.modelops.staging import Demands, Staging
from twinloop.modelops.stand import Stand
from twinloop.modelops.trial import Limits
from twinloop.modelops.trials import Trials
from twinloop.modelops.uses import Uses
from twinloop.modelops.watch import Watch
from twinloop.runtime.events import first_of
from twinloop.runtime.kafka.clients import UNHURRIED, consumer, publisher
from twinloop.runtime.observability import logging
from twinloop.runtime.service import Context
from twinloop.tritonio.client import triton
from twinloop.tritonio.serving import Target
from twinloop.trust.bearer import Access

log = logging.logger(__name__)

_STANDBY_S = 1.0


async def main(settings: ModelopsSettings, context: Context, *, access: Access, target: Target) -> None:
    """Keep what routes name loaded, and do what persons and trials decide, until told to stop."""
    context.health.add("repository", lambda: "another process decides about it: this one waits")
    if not await alone(settings, context):
        return
    context.health.add("repository", lambda: None)
    context.health.add("routes", lambda: "waiting for Kafka")  # until the real check takes its place
    metrics, stack, stopping, clock = (
        Metrics(context.registry),
        context.stack,
        context.stopping,
        context.clock,
    )
    audit = await stack.enter_async_context(
        audit_log(
            settings.audit,
            settings.audit_chain,
            clock,
            metrics=AuditMetrics(context.registry, context.name),
        )
    )
    context.health.add("audit", audit.problem)
    kafka, prefix = settings.kafka_access, settings.topic_prefix
    out = await stack.enter_async_context(publisher(kafka, prefix, stopping))
    await stack.enter_async_context(audit.published(out))
    models = await stack.enter_async_context(consumer(kafka, [MODELS], prefix, stopping, group=None))
    scores = await stack.enter_async_context(
        consumer(kafka, [SCORES], prefix, stopping, group=None, max_poll_records=2000, fetch=UNHURRIED)
    )
    seen = await stack.enter_async_context(
        consumer(kafka, [SCORES], prefix, stopping, group=None, max_poll_records=2000, fetch=UNHURRIED)
    )
    server = await stack.enter_async_context(
        triton(settings.triton, deadline_s=settings.infer_timeout_s, load_s=settings.load_timeout_s)
    )
    routes = RouteTable(models, out, settings.model_names)
    context.health.add("routes", routes.problem)
    shelf, uses = Shelf(settings.repository, target, settings.model_names), Uses()
    keeper = Keeper(shelf, server, uses, metrics)
    context.health.add("triton", keeper.problem)
    limits = limits_of(settings)
    trials = Trials(uses, limits.block)
    desk = Desk(
        routes,
        trials,
        shelf,
        server,
        keeper,
        uses,
        audit,
        clock,
        metrics,
        time.monotonic,
        quiet_s=settings.quiet_s,
        retire_s=settings.retire_s,
    )
    watch = Watch(routes, trials, desk, keeper, limits, metrics)
    drift = Drift(shelf.card, timedelta(seconds=settings.drift_epoch_s))
    drifting = DriftWatch(drift, routes, out, clock, metrics, settings.drift_look_s)
    demands = Demands(Bounds(settings.run_s, settings.run_memory_bytes), settings.budget_s)
    staging = Staging(shelf, server, keeper, demands, metrics, time.perf_counter)
    async with asyncio.TaskGroup() as group:
        group.create_task(routes.run(stopping))
        await first_of(routes.caught_up, stopping)
        if stopping.is_set():
            return
        for route in routes.known.values():
            log.info("route", scope=route.scope, serving=named(route.contract))
        shelf.sweep()
        await keeper.refresh()
        group.create_task(look(keeper, routes, stopping, settings.look_s))
        group.create_task(watch.run(scores, stopping))
        group.create_task(drifting.run(seen, stopping))
        context.api = make_api(
            Stand(routes, shelf, server, watch),
            desk,
            staging,
            access,
            clock,
            metrics,
            upload_bytes=settings.upload_bytes,
            names=settings.model_names,
        )


async def alone(settings: ModelopsSettings, context: Context) -> bool:
    """Wait until no other process decides about the repository; false when told to stop before."""
    while not context.stopping.is_set():
        holding = held(settings.repository, settings.model_names)
        if holding.__enter__():
            context.stack.push(holding)
            return True
        holding.__exit__(None, None, None)
        with suppress(TimeoutError):
            await asyncio.wait_for(context.stopping.wait(), _STANDBY_S)
    return False


async def look(keeper: Keeper, routes: RouteTable, stopping: asyncio.Event, every_s: float) -> None:
    """Look at Triton until told to stop."""
    while not stopping.is_set():
        await keeper.look(lambda: routes.known, time.monotonic())
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), every_s)


def limits_of(settings: ModelopsSettings) -> Limits:
    """What trials are judged by."""
    return Limits(
        disagreement=settings.disagreement,
        failures=settings.failures,
        slower=settings.slower,
        false_stop=settings.false_stop,
        false_pass=settings.false_pass,
        block=settings.block,
    )
