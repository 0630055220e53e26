"""Wires `line`: the log of changes, the PLC, and what carries the one to the other.

    changes -> Ledger -> Carrier -> OPC UA -> changes: issued, applied, failed, expired

Heartbeat, kill switch, audit and API are there before Kafka is, and stay when it goes.
"""

from __future__ import annotations

import asyncio
from functools import partial

from twinloop.audit.log import audit_log
from twinloop.audit.metrics import AuditMetrics
from twinloop.line.api import api
from twinloop.line.kill import KillSwitch
from twinloop.line.limits import LineLimits
from twinloop.line.metrics import Metrics
from twinloop.line.notices import Notices
from twinloop.line.opcua import plc
from twinloop.line.ports import SOURCE
from twinloop.line.restart import Admission
from twinloop.line.settings import LineSettings
from twinloop.line.vigil import Vigil
from twinloop.line.work import Work
from twinloop.runtime.service import Context
from twinloop.trust.bearer import Access
from twinloop.trust.keys import Trusted

KILL_FILE = "kill.json"


async def main(
    settings: LineSettings, context: Context, *, limits: LineLimits, access: Access, trusted: Trusted
) -> None:
    """Watch over the stations, and do what the log says, until told to stop."""
    metrics, clock, stack = Metrics(context.registry), context.clock, context.stack
    audit = await stack.enter_async_context(
        audit_log(settings.audit, SOURCE, clock, metrics=AuditMetrics(context.registry, context.name))
    )
    device = await stack.enter_async_context(
        plc(
            settings.opcua,
            [one.station for one in limits.assets.values()],
            asyncio.Event(),  # its session outlives `stopping`: control is given back over it
            timeout_s=settings.call_timeout_s,
            metrics=metrics,
            security=settings.security,
        )
    )
    kill = KillSwitch.open(settings.audit / KILL_FILE, limits.assets, clock)
    admission = Admission(limits.assets)
    notices = Notices(audit, clock, metrics)
    vigil = Vigil(
        device,
        limits.assets,
        admission.of,
        stops=kill,
        audit=audit,
        notices=notices,
        clock=clock,
        metrics=metrics,
    )
    context.health.add("plc", device.problem)
    context.health.add("audit", audit.problem)
    context.health.add("kill switch", kill.problem)
    context.health.add("changes", lambda: "no connection to Kafka yet")
    context.api = api(access, limits, kill, vigil, audit, admission.of)
    for asset, own in limits.assets.items():
        metrics.killed.labels(own.station).set_function(partial(_is_killed, kill, asset))
    work = Work(settings, context, limits, trusted, metrics, device, audit, kill, admission, notices, vigil)
    recording = asyncio.create_task(notices.record(), name="audit notices")
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(vigil.run(context.stopping), name="heartbeats")
            tasks.create_task(work.run(), name="changes")
    finally:
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)


def _is_killed(kill: KillSwitch, asset: str) -> float:
    return float(kill.in_force(asset) is not None)
