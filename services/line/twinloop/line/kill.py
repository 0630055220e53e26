"""The kill switch, for all stations or for one: at once in memory, on the disk, and then in the log.

    set:    in force here -> control released at the devices, and saved -> KillSwitchSet published
    clear:  written down and saved -> no longer in force here -> KillSwitchCleared published

It survives `kill -9`. A file that cannot be read counts as set: nobody knows what it said. What the log says
about other members' switches counts besides (`govern`); nothing in the log clears the one here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from aiokafka.errors import KafkaError

from twinloop.contracts.codec import message
from twinloop.contracts.controls import KillSwitchCleared, KillSwitchSet
from twinloop.contracts.ids import event_id, trace_id
from twinloop.contracts.times import Instant
from twinloop.contracts.topics import CHANGES
from twinloop.line.errors import NotKilled
from twinloop.line.ledger import Ledger
from twinloop.line.ports import SOURCE
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka.clients import Publisher
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

Told = KillSwitchSet | KillSwitchCleared
_AGAIN_S: Final = 0.5


class Stop(msgspec.Struct, frozen=True):
    """Who has set a switch, why and when."""

    by: str
    reason: str
    at: Instant

    def __str__(self) -> str:
        return f"the kill switch is set by {self.by}: {self.reason}"


class _Saved(msgspec.Struct, frozen=True):
    everything: Stop | None = None
    assets: dict[str, Stop] = {}
    untold: list[Told] = []


class KillSwitch:
    """Use `open`. One event loop; `path` is written aside, forced to the disk and renamed."""

    def __init__(self, path: Path, assets: Iterable[str], clock: Clock, saved: _Saved) -> None:
        self._path = path
        self._assets = sorted(assets)
        self._clock = clock
        self._everything = saved.everything
        self._stops = dict(saved.assets)
        self._untold = list(saved.untold)
        self._saving = asyncio.Lock()
        self._news = asyncio.Event()
        self._problem: str | None = None

    @classmethod
    def open(cls, path: Path, assets: Iterable[str], clock: Clock) -> KillSwitch:
        """As it was left; what cannot be read is set."""
        try:
            saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
        except FileNotFoundError:
            saved = _Saved()
        except (OSError, msgspec.MsgspecError) as error:
            log.error("the kill switch cannot be read: it counts as set", path=str(path), problem=str(error))
            saved = _Saved(everything=Stop(SOURCE, f"{path.name} cannot be read: {error}", clock.now()))
        return cls(path, assets, clock, saved)

    def problem(self) -> str | None:
        """Health check: why a switch would not survive this process."""
        return self._problem

    def in_force(self, asset: str) -> str | None:
        """Why nothing may be commanded to `asset`, or `None`. What the log does not have yet is in force."""
        stop = self._everything or self._stops.get(asset)
        if stop is not None:
            return str(stop)
        if any(one.asset == asset for one in self._untold):
            return "the kill switch was set and cleared, and the log does not say so yet"
        return None

    def of(self, asset: str) -> Stop | None:
        """The asset's own switch."""
        return self._stops.get(asset)

    @property
    def everything(self) -> Stop | None:
        """The switch for all stations."""
        return self._everything

    def set(self, by: str, reason: str, asset: str | None) -> list[str]:
        """In force when this returns; then `save`. Returns the assets that it stops."""
        stop = Stop(by, reason, self._clock.now())
        if asset is None:
            self._everything = stop
        else:
            self._stops[asset] = stop
        stopped = self._of(asset)
        self._tell(KillSwitchSet, stopped, by, reason, stop.at)
        return stopped

    def check_set(self, asset: str | None, logged: Callable[[str], bool]) -> None:
        """Raises `NotKilled` when there is nothing to clear, here or, as `logged` says of an asset, in the
        log."""
        is_set = self._everything if asset is None else self._stops.get(asset)
        if is_set is None and not any(map(logged, self._of(asset))):
            raise NotKilled("no such kill switch is set")

    async def clear(self, by: str, reason: str, asset: str | None) -> list[str]:
        """No longer in force when this returns, and saved. Returns the assets that nothing stops any more.

        Raises `OSError` when it cannot be saved: then nothing has changed.
        """
        of = self._of(asset)
        before = (self._everything, dict(self._stops), list(self._untold))
        if asset is None:
            self._everything = None
        else:
            self._stops.pop(asset, None)
        freed = [one for one in of if self._everything is None and one not in self._stops]
        self._tell(KillSwitchCleared, freed, by, reason, self._clock.now())
        try:
            await self.save()
        except OSError:
            self._everything, self._stops, self._untold = before
            raise
        return freed

    async def save(self) -> None:
        """Force what is in force to the disk. Raises `OSError`; what is in force stays so here."""
        async with self._saving:
            saved = _Saved(self._everything, dict(self._stops), list(self._untold))
            try:
                await asyncio.to_thread(_write, self._path, msgspec.json.encode(saved))
            except OSError as error:
                self._problem = f"the kill switch cannot be saved: {error}"
                raise
            self._problem = None

    def remind(self, ledger: Ledger) -> None:
        """Say again what is in force here and not in the log: it was lost, or another member cleared it."""
        for asset in self._assets:
            stop = self._everything or self._stops.get(asset)
            untold = any(one.asset == asset for one in self._untold)
            if (
                stop is not None
                and not untold
                and ledger.knows(asset)
                and not ledger.governance(asset).killed
            ):
                self._tell(KillSwitchSet, [asset], stop.by, stop.reason, self._clock.now())

    async def publish(self, publisher: Publisher, ledger_of: Callable[[str], Ledger | None]) -> None:
        """Publish what was set and cleared, in its order, again until Kafka has it; for ever."""
        while True:
            while self._untold:
                event = self._untold[0]
                try:
                    await publisher.publish([message(CHANGES, event, source=SOURCE)])
                except KafkaError as error:
                    log.warning("the kill switch waits for kafka", problem=repr(error))
                    await asyncio.sleep(_AGAIN_S)
                    continue
                if (ledger := ledger_of(event.asset)) is not None:
                    ledger.say(event)
                self._untold.remove(event)
                try:
                    await self.save()
                except OSError as error:
                    log.error("the kill switch cannot be saved", problem=str(error))
            self._news.clear()
            await self._news.wait()

    def _of(self, asset: str | None) -> list[str]:
        return self._assets if asset is None else [asset]

    def _tell(self, kind: type[Told], assets: Iterable[str], by: str, reason: str, at: datetime) -> None:
        for asset in assets:
            one = event_id(str(kind.__struct_config__.tag), asset, at.isoformat(), by, reason)
            head: dict[str, Any] = {"asset": asset, "at": at, "observed_at": at, "trace_id": trace_id(one)}
            self._untold.append(kind(event_id=one, **head, by=by, reason=reason))
        self._news.set()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    with aside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
