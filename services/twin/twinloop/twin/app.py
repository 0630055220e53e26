"""Wires the twin: what is observed, the log of changes, the judgement between them, persons, and the API.

telemetry.factory, genealogy -> Observations, Joints --.
changes -> Ledger ----------------------> Decider ------+-> audit store -> changes: simulated, approved,
persons -> api -> Desk ---------------------------------'   rejected; modes, endorsements; and alarms
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from twinloop.audit.log import audit_log
from twinloop.audit.metrics import AuditMetrics
from twinloop.contracts.topics import CHANGES
from twinloop.runtime.kafka.clients import consumer, publisher
from twinloop.runtime.kafka.journal import Journal, journal
from twinloop.runtime.observability.metrics import ConsumerMetrics
from twinloop.runtime.service import Context
from twinloop.trust.bearer import Access
from twinloop.trust.keys import Signer
from twinloop.twin.api import make_api
from twinloop.twin.assets import TwinAssets
from twinloop.twin.calibration import Joints
from twinloop.twin.calibrator import Calibrator
from twinloop.twin.decider import Decider
from twinloop.twin.desk import Desk
from twinloop.twin.ledger import Ledger
from twinloop.twin.metrics import Metrics
from twinloop.twin.mirror import Mirror
from twinloop.twin.models import Processes
from twinloop.twin.observe import Observations
from twinloop.twin.observers import OBSERVED, Observers
from twinloop.twin.recorder import SOURCE, Recorder
from twinloop.twin.settings import TwinSettings
from twinloop.twin.stand import Stand
from twinloop.twin.stream import Hub
from twinloop.twin.views import shadow_view

GROUP = SOURCE
_POLL_MS = 50


async def main(
    settings: TwinSettings, context: Context, *, assets: TwinAssets, signer: Signer, access: Access
) -> None:
    """Observe, and decide about each change once, until told to stop."""
    context.health.add("changes", lambda: "waiting for Kafka")  # until the real check takes its place
    metrics, reading = Metrics(context.registry), ConsumerMetrics(context.registry, context.name)
    stack, stopping, clock = context.stack, context.stopping, context.clock
    audit = await stack.enter_async_context(
        audit_log(
            settings.audit,
            settings.audit_chain,
            clock,
            metrics=AuditMetrics(context.registry, context.name),
        )
    )
    context.health.add("audit", audit.problem)
    out = await stack.enter_async_context(publisher(settings.kafka_access, settings.topic_prefix, stopping))
    await stack.enter_async_context(audit.published(out))
    processes = Processes(settings.models)
    observations = Observations({name: one.estimate.parts for name, one in assets.assets.items()})
    joints = Joints(list(assets.assets))
    followed = await stack.enter_async_context(
        consumer(
            settings.kafka_access, OBSERVED, settings.topic_prefix, stopping, group=None, metrics=reading
        )
    )
    observers = Observers(followed, settings.topic_prefix, observations, joints, metrics)
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
    recorder = Recorder(audit, out, signer, clock, metrics)
    calibrator = Calibrator(assets, joints, recorder, clock, metrics)
    decider = Decider(assets, processes, observations, calibrator, recorder, changes.holds, clock, metrics)
    mirror = Mirror(changes.at, joints, decider.waits_for)
    hub = Hub(settings.stream_room, metrics)
    context.api = make_api(
        Stand(assets, processes, observations, mirror, calibrator, changes.at),
        Desk(assets, changes.states, changes.at, calibrator, recorder, clock),
        mirror,
        hub,
        access,
        changes.states,
        decider.waits_for,
        metrics,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(observers.run(settings.look_back_s, clock, stopping))
        while not stopping.is_set():
            now = clock.now()
            unreadable = await changes.read(_POLL_MS)
            metrics.dead_letters.inc(len(unreadable))
            await out.publish([one.letter(service=SOURCE, at=now) for one in unreadable])
            for ledger in changes.states():
                ledger.live = True  # what a log said before it was taken on is no news
            metrics.illegal_controls.set(sum(ledger.illegal for ledger in changes.states()))
            if observers.problem() is None:
                await calibrate(calibrator, changes, assets.assets)
                await decide(decider, changes)
            tell(hub, mirror, changes, joints)
            await changes.commit()


async def calibrate(calibrator: Calibrator, changes: Journal[Ledger], assets: Iterable[str]) -> None:
    """Measure what can be measured; give up AUTO where forecasts do not come true."""
    for ledger in changes.states():
        calibrator.measure(ledger)
    for asset in assets:
        held = changes.at(asset)
        if held is not None:
            await calibrator.shed(held, asset)


async def decide(decider: Decider, changes: Journal[Ledger]) -> None:
    """Take every change further that is due."""
    due = {change.proposed.change_id: ledger for ledger in changes.states() for change in ledger.due()}
    decider.tidy(set(due))
    for change_id, ledger in due.items():
        await decider.decide(change_id, ledger)


def tell(hub: Hub, mirror: Mirror, changes: Journal[Ledger], joints: Joints) -> None:
    """Tell followers what was folded, and which shadows changed."""
    touched = joints.touched()
    for ledger in changes.states():
        for event in ledger.news():
            hub.tell("event", event)
            touched.add(event.asset)
    for shadow in mirror.changed(touched):
        hub.tell("shadow", shadow_view(shadow).model_dump(mode="json"))
