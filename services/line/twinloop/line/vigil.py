"""Watches over the stations: a beat each, whatever else this service waits for.

    every beat_s, and at once when another mode is in force:
        read -> watch.look -> say what was found -> take control, beat, or release it

The log says whether an asset acts; without it (Kafka away since the start) no control is taken. Kafka away
later on changes nothing here: what was in force stays so, and the heart goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

from twinloop.audit.errors import AuditAway
from twinloop.audit.port import Audit
from twinloop.contracts.events import AlarmCode
from twinloop.contracts.ids import event_id
from twinloop.contracts.modes import Mode, lower
from twinloop.line import watch
from twinloop.line.errors import PlcRefused, PlcUnavailable
from twinloop.line.ledger import Ledger
from twinloop.line.limits import StationLimits
from twinloop.line.metrics import Metrics
from twinloop.line.notices import Notices
from twinloop.line.plc import Device, Plc
from twinloop.line.ports import SOURCE, Stops
from twinloop.line.watch import Do, Lost, Watched, Wish
from twinloop.runtime.clock import Clock
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

_RELEASED: Final = "nothing may be commanded now"


@dataclass(slots=True)
class _Station:
    limits: StationLimits
    watched: Watched = field(default_factory=Watched)
    device: Device | None = None
    counter: int = 0
    commands: int = 0
    """Commands of ours that have ended: one more between two readings explains a difference."""
    mode: Mode = Mode.SHADOW
    """In force at the last beat."""
    due: asyncio.Event = field(default_factory=asyncio.Event)


class Vigil:
    """Of all stations; `ledger_of` is the admitted ledger that speaks of an asset, if there is one here."""

    def __init__(
        self,
        plc: Plc,
        assets: dict[str, StationLimits],
        ledger_of: Callable[[str], Ledger | None],
        *,
        stops: Stops,
        audit: Audit,
        notices: Notices,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._plc = plc
        self._stations = {asset: _Station(limits) for asset, limits in assets.items()}
        self._ledger_of = ledger_of
        self._stops = stops
        self._audit = audit
        self._notices = notices
        self._clock = clock
        self._metrics = metrics

    async def run(self, stopping: asyncio.Event) -> None:
        """Watch until told to stop; then give control back."""
        async with asyncio.TaskGroup() as tasks:
            for asset in self._stations:
                tasks.create_task(self._keep(asset, stopping), name=f"heartbeat of {asset}")
            await stopping.wait()
            for station in self._stations.values():
                station.due.set()

    def mind(self) -> None:
        """What the log says may have changed: beat at once where another mode is in force than at the last
        beat, so that whoever was told of a mode need not wait for it."""
        for asset, station in self._stations.items():
            if self.effective(asset) is not station.mode:
                station.due.set()

    def problem(self, asset: str) -> str | None:
        """See `Link`."""
        return self._stations[asset].watched.problem

    def settled(self, asset: str, device: Device) -> None:
        """See `Link`."""
        station = self._stations[asset]
        station.watched = watch.settled(station.watched, device)
        station.commands += 1

    def device(self, asset: str) -> Device | None:
        """What was read at the last beat; `None` when it could not be."""
        return self._stations[asset].device

    def holds(self, asset: str) -> bool:
        """Whether this process has control of the station."""
        return self._stations[asset].watched.holds

    def effective(self, asset: str) -> Mode:
        """The mode in force, under this service's own ceiling."""
        ledger = self._ledger_of(asset)
        actual = Mode.SHADOW if ledger is None else ledger.governance(asset).actual
        return lower(actual, self._stations[asset].limits.highest_mode)

    async def release(self, asset: str, reason: str) -> bool:
        """Give control back now, whatever else is under way; whether the device said that it has it."""
        station = self._stations[asset]
        station.watched = replace(station.watched, holds=False)
        command = event_id("release", asset, self._clock.now().isoformat(), reason)
        return await self._ask(
            asset, Do.RELEASE, self._plc.release_control(station.limits.station, command, reason)
        )

    async def _keep(self, asset: str, stopping: asyncio.Event) -> None:
        station = self._stations[asset]
        while not stopping.is_set():
            early = station.due.is_set()
            station.due.clear()
            await self.beat(asset, early=early)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(station.due.wait(), station.limits.beat_s)
        if station.watched.holds:
            await self.release(asset, "this service stops")

    async def beat(self, asset: str, *, early: bool = False) -> None:
        """One beat, in its time or `early`."""
        station = self._stations[asset]
        station.mode = self.effective(asset)
        commands, busy = station.commands, self._busy(asset)
        try:
            station.device = await self._plc.read(station.limits.station)
        except PlcUnavailable:
            station.device = None
        quiet = not busy and not self._busy(asset) and commands == station.commands
        wish = self._wish(asset, quiet=quiet, early=early)
        station.watched, found, do = watch.look(station.watched, station.device, wish)
        self._say(asset, found)
        await self._do(asset, do)
        self._metrics.control.labels(station.limits.station).set(station.watched.holds)

    def _busy(self, asset: str) -> bool:
        ledger = self._ledger_of(asset)
        return ledger is not None and ledger.unknown(asset)

    def _wish(self, asset: str, *, quiet: bool, early: bool) -> Wish:
        ledger, killed = self._ledger_of(asset), self._stops.in_force(asset) is not None
        if ledger is None:
            return Wish(owned=False, acts=False, killed=killed, quiet=quiet, early=early)
        station, state = self._stations[asset], ledger.governance(asset)
        acts = self.effective(asset).acts
        if acts and (problem := self._audit.problem()) is not None:
            reason = f"nothing can be written down: {problem}"
            self._notices.say_shed(ledger, asset, reason, AlarmCode.AUDIT_AWAY)
            acts = False
        elif not acts and station.watched.holds:
            # What a machine has shed does not stop the rollback of what was done before.
            acts = state.requested.acts and not state.manual and ledger.takes_back(asset)
        killed = killed or state.killed
        return Wish(owned=True, acts=acts, manual=state.manual, killed=killed, quiet=quiet, early=early)

    def _say(self, asset: str, found: watch.Finding | None) -> None:
        ledger = self._ledger_of(asset)
        if found is None or ledger is None:
            return
        if isinstance(found, Lost):
            self._notices.say_shed(ledger, asset, found.reason, AlarmCode.WATCHDOG)
        else:
            self._notices.say_overridden(ledger, asset, found)

    async def _do(self, asset: str, do: Do) -> None:
        station = self._stations[asset]
        name = station.limits.station
        if do is Do.RELEASE:
            await self.release(asset, self._stops.in_force(asset) or _RELEASED)
        elif do is Do.BEAT:
            station.counter += 1
            taken = await self._ask(asset, do, self._plc.heartbeat(name, station.counter))
            station.watched = watch.heard(station.watched, do, taken=taken)
        elif do is Do.TAKE:
            await self._take(asset, station)

    async def _take(self, asset: str, station: _Station) -> None:
        """Take control: written down before; and given back if the kill switch came in between."""
        now = self._clock.now()
        try:
            await self._audit.append(
                asset=asset, who=SOURCE, what="took control", new=f"mode {self.effective(asset)}"
            )
        except AuditAway:
            return  # the next beat sheds
        if self._stops.in_force(asset) is not None:
            return
        # Counters grow from process to process, too: the device may remember the last one.
        station.counter = max(station.counter, int(now.timestamp() * 1000))
        command = event_id("take", asset, now.isoformat())
        taken = await self._ask(asset, Do.TAKE, self._plc.take_control(station.limits.station, command))
        station.watched = watch.heard(station.watched, Do.TAKE, taken=taken)
        if self._stops.in_force(asset) is not None:
            await self.release(asset, "the kill switch came while control was taken")

    async def _ask(self, asset: str, what: Do, request: Awaitable[object]) -> bool:
        try:
            await request
        except (PlcRefused, PlcUnavailable) as error:
            self._metrics.missed_beats.labels(self._stations[asset].limits.station, what).inc()
            log.warning("the device did not take it", asset=asset, what=what, problem=str(error))
            return False
        return True
