"""Wires `line`: the log of changes, the PLC, and what carries the one to the other.

changes -> Ledger -> Carrier -> OPC UA -> changes: issued, applied, failed, expired
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.topics import CHANGES
from twinloop.line.carry import SOURCE, Carrier
from twinloop.line.ledger import Change, Ledger
from twinloop.line.limits import LineLimits
from twinloop.line.metrics import Metrics
from twinloop.line.opcua import plc
from twinloop.line.settings import LineSettings
from twinloop.runtime.deadletters import dead_letter
from twinloop.runtime.journal import Journal
from twinloop.runtime.kafka import consumer, publisher
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
    journal = Journal(CHANGES, Ledger, Ledger.fold)
    context.health.add("journal", journal.problem)
    client = await stack.enter_async_context(
        consumer(
            settings.kafka,
            [CHANGES],
            settings.topic_prefix,
            stopping,
            group=GROUP,
            listener=journal,
            session_timeout_s=settings.session_timeout_s,
        )
    )
    journal.attach(client)
    carrier = Carrier(device, out, context.clock, metrics)
    while not stopping.is_set():
        now = context.clock.now()
        unreadable = await journal.read(_POLL_MS)
        metrics.dead_letters.inc(len(unreadable))
        await out.publish(
            dead_letter(one.record, Reason.UNDECODABLE, one.problem, service=SOURCE, at=now)
            for one in unreadable
        )
        async with asyncio.TaskGroup() as stations_at_work:
            for ledger, due in _due(journal, limits, metrics):
                stations_at_work.create_task(_work(due, ledger, journal, carrier, limits))
        await journal.commit()


def _due(journal: Journal[Ledger], limits: LineLimits, metrics: Metrics) -> list[tuple[Ledger, list[Change]]]:
    """What waits for us, by asset: the changes of one station go one after the other."""
    work: dict[str, tuple[Ledger, list[Change]]] = {}
    foreign = 0
    for ledger in journal.states():
        for change in ledger.due():
            asset = change.proposed.asset
            if asset in limits.assets:
                work.setdefault(asset, (ledger, []))[1].append(change)
            else:
                foreign += 1
    metrics.foreign.set(foreign)
    return list(work.values())


async def _work(
    due: Sequence[Change], ledger: Ledger, journal: Journal[Ledger], carrier: Carrier, limits: LineLimits
) -> None:
    for change in due:
        if journal.holds(ledger):
            await carrier.carry(change, ledger, limits.assets[change.proposed.asset])
