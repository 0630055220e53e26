"""Reads the log of changes and does what is due, as long as there is Kafka.

read -> admit: shed what a process before us left -> carry what is due -> commit
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from aiokafka.errors import KafkaError

from twinloop.audit.log import AuditLog
from twinloop.contracts.controls import Governance
from twinloop.contracts.topics import CHANGES
from twinloop.line.carry import Carrier
from twinloop.line.kill import KillSwitch
from twinloop.line.ledger import Change, Ledger
from twinloop.line.limits import LineLimits
from twinloop.line.metrics import Metrics
from twinloop.line.notices import Notices
from twinloop.line.plc import Plc
from twinloop.line.ports import SOURCE
from twinloop.line.restart import Admission
from twinloop.line.settings import LineSettings
from twinloop.line.tell import Teller
from twinloop.line.vigil import Vigil
from twinloop.runtime.kafka.clients import KafkaPublisher, publisher
from twinloop.runtime.kafka.journal import Journal, journal
from twinloop.runtime.observability.metrics import ConsumerMetrics
from twinloop.runtime.service import Context
from twinloop.trust.keys import Trusted

GROUP: Final = "line"
_POLL_MS: Final = 50
_LAST_S: Final = 2.0
"""How long a service that stops waits for Kafka to take what it has said."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the log asks for. Heartbeat, kill switch and API go on without it."""

    settings: LineSettings
    context: Context
    limits: LineLimits
    trusted: Trusted
    metrics: Metrics
    plc: Plc
    audit: AuditLog
    kill: KillSwitch
    admission: Admission
    notices: Notices
    vigil: Vigil

    async def run(self) -> None:
        """Until told to stop. An outage of Kafka at the start is waited out."""
        try:
            async with AsyncExitStack() as stack:
                await self._run(stack)
        except KafkaError:
            if not self.context.stopping.is_set():
                raise

    async def _run(self, stack: AsyncExitStack) -> None:
        settings, stopping = self.settings, self.context.stopping
        out = await stack.enter_async_context(
            publisher(settings.kafka_access, settings.topic_prefix, stopping)
        )
        await stack.enter_async_context(self.audit.published(out))
        changes = await stack.enter_async_context(
            journal(
                settings,
                CHANGES,
                stopping,
                group=GROUP,
                new=Ledger,
                fold=Ledger.fold,
                session_timeout_s=settings.session_timeout_s,
                metrics=ConsumerMetrics(self.context.registry, self.context.name),
            )
        )
        self.context.health.add(
            "changes", lambda: changes.problem() or self.admission.problem(changes.states())
        )
        async with asyncio.TaskGroup() as tasks:
            told = [
                tasks.create_task(self.notices.publish(out), name="publish notices"),
                tasks.create_task(self.kill.publish(out, self.admission.of), name="publish kill switch"),
            ]
            await self._follow(changes, self._carrier(out), out)
            await self.notices.said(_LAST_S)
            for one in told:
                one.cancel()

    def _carrier(self, out: KafkaPublisher) -> Carrier:
        clock = self.context.clock
        teller = Teller(out, self.audit, clock, self.metrics)
        return Carrier(self.plc, self.trusted, self.audit, self.kill, self.vigil, self.notices, teller, clock)

    async def _follow(self, changes: Journal[Ledger], carrier: Carrier, out: KafkaPublisher) -> None:
        while not self.context.stopping.is_set():
            now = self.context.clock.now()
            unreadable = await changes.read(_POLL_MS)
            self.admission.admit(changes.states(), self._restarted)
            self.vigil.mind()
            for ledger in changes.states():
                self.kill.remind(ledger)
            self.metrics.dead_letters.inc(len(unreadable))
            await out.publish(one.letter(service=SOURCE, at=now) for one in unreadable)
            async with asyncio.TaskGroup() as stations_at_work:
                for ledger, due in self._due(changes):
                    stations_at_work.create_task(self._work(due, ledger, changes, carrier))
            await changes.commit()

    def _restarted(self, ledger: Ledger, asset: str, state: Governance) -> None:
        self.notices.say_shed(ledger, asset, f"line restarted, and did not see {state.actual} being entered")

    def _due(self, changes: Journal[Ledger]) -> list[tuple[Ledger, list[Change]]]:
        """What waits for us, by asset: the changes of one station go one after the other."""
        work: dict[str, tuple[Ledger, list[Change]]] = {}
        foreign, illegal = 0, 0
        for ledger in changes.states():
            illegal += ledger.illegal
            for change in ledger.due():
                asset = change.proposed.asset
                if asset in self.limits.assets:
                    work.setdefault(asset, (ledger, []))[1].append(change)
                else:
                    foreign += 1
        self.metrics.foreign.set(foreign)
        self.metrics.illegal.set(illegal)
        return list(work.values())

    async def _work(
        self, due: Sequence[Change], ledger: Ledger, changes: Journal[Ledger], carrier: Carrier
    ) -> None:
        for change in due:
            if changes.holds(ledger):
                await carrier.carry(change, ledger, self.limits.assets[change.proposed.asset])
