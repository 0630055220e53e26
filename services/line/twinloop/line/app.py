"""Wires `line`: the log of changes, the PLC, and what carries the one to the other.

changes -> Ledger -> Carrier -> OPC UA -> changes: issued, applied, failed, expired
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from twinloop.contracts.topics import CHANGES
from twinloop.line.carry import SOURCE, Carrier
from twinloop.line.ledger import Change, Ledger
from twinloop.line.limits import LineLimits
from twinloop.line.metrics import Metrics
from twinloop.line.opcua import plc
from twinloop.line.settings import LineSettings
from twinloop.runtime.journal import Journal, journal
from twinloop.runtime.kafka import publisher
from twinloop.runtime.metrics import ConsumerMetrics
from twinloop.runtime.service import Context

GROUP = "line"
_POLL_MS = 50


async def main(settings: LineSettings, context: Context, *, limits: LineLimits) -> None:
    """Read the log of changes, do what is due, until told to stop."""
    metrics = Metrics(context.registry)
    stack, stopping = context.stack, context.stopping
    out = await stack.enter_async_context(publisher(settings.kafka, settings.topic_prefix, stopping))
    stations = [one.station for one in limits.assets.values()]
    device = await stack.enter_async_context(
        plc(settings.opcua, stations, stopping, timeout_s=settings.call_timeout_s, metrics=metrics)
    )
    context.health.add("plc", device.problem)
    changes = await stack.enter_async_context(
        journal(
            settings,
            CHANGES,
            stopping,
            group=GROUP,
            new=Ledger,
            fold=Ledger.fold,
            session_timeout_s=settings.session_timeout_s,
            metrics=ConsumerMetrics(context.registry, context.name),
        )
    )
    context.health.add("changes", changes.problem)
    carrier = Carrier(device, out, context.clock, metrics)
    while not stopping.is_set():
        now = context.clock.now()
        unreadable = await changes.read(_POLL_MS)
        metrics.dead_letters.inc(len(unreadable))
        await out.publish(one.letter(service=SOURCE, at=now) for one in unreadable)
        async with asyncio.TaskGroup() as stations_at_work:
            for ledger, due in _due(changes, limits, metrics):
                stations_at_work.create_task(_work(due, ledger, changes, carrier, limits))
        await changes.commit()


def _due(changes: Journal[Ledger], limits: LineLimits, metrics: Metrics) -> list[tuple[Ledger, list[Change]]]:
    """What waits for us, by asset: the changes of one station go one after the other."""
    work: dict[str, tuple[Ledger, list[Change]]] = {}
    foreign = 0
    for ledger in changes.states():
        for change in ledger.due():
            asset = change.proposed.asset
            if asset in limits.assets:
                work.setdefault(asset, (ledger, []))[1].append(change)
            else:
                foreign += 1
    metrics.foreign.set(foreign)
    return list(work.values())


async def _work(
    due: Sequence[Change], ledger: Ledger, changes: Journal[Ledger], carrier: Carrier, limits: LineLimits
) -> None:
    for change in due:
        if changes.holds(ledger):
            await carrier.carry(change, ledger, limits.assets[change.proposed.asset])
