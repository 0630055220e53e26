"""Models into service by the one door: modelops as a process on real parts, and people who ask it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from support.processes import ServiceProcess
from support.waiting import until
from twinloop.local.demo.models import PATIENT_S
from twinloop.local.demo.operator import People
from twinloop.local.stack import Stack


@contextlib.asynccontextmanager
async def modelops(stack: Stack, certs: Path, prefix: str, folder: Path) -> AsyncIterator[People]:
    """People at a modelops that decides about the stack's repository; its log and audit store are in
    `folder`. Topics must be there."""
    where = stack.endpoints
    service = ServiceProcess(
        "modelops",
        {
            "TWINLOOP_KAFKA": where.kafka,
            "TWINLOOP_TRITON": where.triton,
            "TWINLOOP_TOPIC_PREFIX": prefix,
            "TWINLOOP_MODEL_PREFIX": "",
            "TWINLOOP_MODEL_REPOSITORY": str(where.model_repository),
            "TWINLOOP_MODELOPS_AUDIT": str(folder / "audit"),
            "TWINLOOP_MODELOPS_BUDGET_S": "5",
            "TWINLOOP_ACCESS_PEOPLE": str(certs / "people.toml"),
        },
        folder / "modelops.log",
    )
    service.start()
    try:
        await until(lambda: service.ready)
        async with People(service.url, certs / "tokens", PATIENT_S) as people:
            yield people
    finally:
        if service.running:
            service.stop()
