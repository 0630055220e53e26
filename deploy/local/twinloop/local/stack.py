"""A stack: parts and services that are started together, watched, and stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from twinloop.local.errors import CannotStart, LocalError, PartDied
from twinloop.local.events import Event, Kind, Listener, nobody
from twinloop.local.keys import certs
from twinloop.local.keys.secured import Secrets, Secure
from twinloop.local.parts.base import Part
from twinloop.local.parts.kafka import Kafka
from twinloop.local.places import Places, find_places
from twinloop.local.plan import PARTS, Endpoints, Plan, make_plan
from twinloop.local.ports import Ports
from twinloop.local.process import LINES_SHOWN, Child, Command, identify, tail
from twinloop.local.services import Service
from twinloop.local.state import SUPERVISOR, Recorded, StateFolder
from twinloop.runtime.kafka.access import KafkaAccess
from twinloop.runtime.kafka.settings import access_of

T = TypeVar("T")

_READY_POLL_S = 0.05
_WATCH_POLL_S = 0.1


class Stack:
    """An asynchronous context manager: inside it everything is ready, after it nothing is left.

    Enter it in a thread that lives as long as the stack (usually the main one): children die with that
    thread.

    `parts` names the parts to run; one whose address is set in the environment (`TWINLOOP_KAFKA`,
    `TWINLOOP_TRITON`, `TWINLOOP_MQTT`) is used where it is instead. `services` start after the topics are
    made. `env` is laid over this process's environment for every child. `fresh` removes what a former
    stack left in the folder, Kafka's data included. `secure` has Kafka and MQTT ask everybody who he is, over
    TLS, and gives each program a user of its own, which may do only what it needs.
    """

    def __init__(
        self,
        state: Path,
        *,
        parts: Sequence[str] = PARTS,
        services: Sequence[Service] = (),
        env: Mapping[str, str] | None = None,
        fresh: bool = True,
        secure: Secure | None = None,
        listener: Listener = nobody,
        places: Places | None = None,
    ) -> None:
        self.state = StateFolder(state)
        self._parts = parts
        self._services = services
        self._environ = {"TWINLOOP_LOG_FORMAT": "console", **os.environ, **(env or {})}
        self._fresh = fresh
        self.secrets = None if secure is None else Secrets(self.state.certs, secure)
        self._tell = listener
        self._places = places or find_places()
        self._resources = contextlib.ExitStack()  # the lock of the state folder and the ports
        self._occupied = False
        self._plan: Plan | None = None
        self._children: dict[str, Child] = {}

    # ---- life cycle

    async def __aenter__(self) -> Self:
        """Start everything. Raises `CannotStart` or `PartDied`; nothing is left running then."""
        try:
            started = time.monotonic()
            self._occupy_state()
            ports = Ports(self._environ)
            self._resources.callback(ports.release)
            self._plan = make_plan(
                self._places, self.state, self._parts, self._services, self._environ, ports, self.secrets
            )
            self.state.write_endpoints(self.endpoints.environment())
            await self._start_all(self._plan)
            self._tell(Event(Kind.UP, took_s=time.monotonic() - started))
        except BaseException as problem:  # noqa: BLE001
            await self._finish()
            raise _cause(problem) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._finish()

    @property
    def admin(self) -> KafkaAccess:
        """A secured Kafka, for who may do everything there. Raises RuntimeError when it is not secured."""
        kafka = self._planned().parts.get("kafka")
        if self.secrets is None or not isinstance(kafka, Kafka):
            raise RuntimeError("this stack has no secured Kafka")
        return self.secrets.admin(kafka.certified)

    def kafka_as(self, user: str) -> KafkaAccess:
        """A secured Kafka, for one of its users."""
        if self.secrets is None:
            raise RuntimeError("this stack has no secured Kafka")
        return access_of({"TWINLOOP_KAFKA": self.endpoints.kafka, **self.secrets.kafka_variables(user)})

    @property
    def endpoints(self) -> Endpoints:
        """Every address. Raises RuntimeError before the stack is entered."""
        return self._planned().endpoints

    # ---- for those who watch it or disturb it

    def logs(self, name: str, lines: int = LINES_SHOWN) -> list[str]:
        """The last lines that a part or service wrote."""
        return tail(self.state.log(name), lines)

    def pid(self, name: str) -> int:
        """The process id of a part or service. Raises KeyError for one that was never started."""
        return self._children[name].pid

    def running(self, name: str) -> bool:
        return name in self._children and self._children[name].running

    async def start(self, name: str) -> None:
        """Start one again at its address and wait until it is ready. Raises `PartDied`."""
        await self._start(self._planned().parts[name])

    async def stop(self, name: str) -> None:
        """Stop one as an operator would: SIGTERM, then SIGKILL after its grace period."""
        part = self._planned().parts[name]
        await self._children[name].stop(part.grace_s)
        part.clean()
        self._record()

    async def kill(self, name: str, sent: signal.Signals = signal.SIGKILL) -> None:
        """Send it a signal; with SIGKILL, also wait for its end."""
        child = self._children[name]
        child.send(sent)
        if sent == signal.SIGKILL:
            await child.stop(grace_s=5.0)
            self._planned().parts[name].clean()
            self._record()

    async def watch(self) -> None:
        """Never returns; raises `PartDied` when something ends that nobody stopped or killed."""
        while True:
            for child in self._children.values():
                if child.watched and not child.running:
                    raise self._died(child.name, child.how_it_ended())
            await asyncio.sleep(_WATCH_POLL_S)

    async def guard(self, work: Awaitable[T]) -> T:
        """The result of `work`; when something dies meanwhile, cancels `work` and raises `PartDied`."""
        watching = asyncio.ensure_future(self.watch())
        working = asyncio.ensure_future(work)
        try:
            await asyncio.wait((watching, working), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                watching.result()
            return working.result()
        finally:
            watching.cancel()
            working.cancel()
            await asyncio.gather(watching, working, return_exceptions=True)

    # ---- starting

    def _occupy_state(self) -> None:
        self._resources.enter_context(self.state.held())
        self._occupied = True
        self.state.stop_recorded()
        if self._fresh:
            self.state.wipe()
        for folder in (self.state.logs, self.state.scratch):
            folder.mkdir(parents=True, exist_ok=True)
        if self._services:
            certs.make(self.state.certs, datetime.now(UTC))
        if self.secrets is not None:
            self.secrets.make(datetime.now(UTC))

    async def _start_all(self, plan: Plan) -> None:
        """One task each, waiting for what it needs: what does not depend on each other starts at once."""
        ready = {name: asyncio.Event() for name in plan.parts}

        async def start_in_turn(part: Part) -> None:
            for need in part.needs:
                if need in ready:
                    await ready[need].wait()
            await self._start(part)
            ready[part.name].set()

        async with asyncio.TaskGroup() as group:
            starting = [group.create_task(start_in_turn(part)) for part in plan.parts.values()]
            watching = group.create_task(self.watch())
            await asyncio.gather(*starting)
            watching.cancel()

    async def _start(self, part: Part) -> None:
        started = time.monotonic()
        self._tell(Event(Kind.STARTING, part.name))
        for command in part.prepare():
            await self._run_to_end(part, command)
        command_here = part.command()
        if command_here is None:
            await self._await_elsewhere(part)
        elif part.ends:
            await self._run_to_end(part, command_here)
        else:
            await self._await_ready(part, self._spawn(part.name, command_here))
        self._tell(Event(Kind.READY, part.name, part.where, time.monotonic() - started))

    async def _run_to_end(self, part: Part, command: Command) -> None:
        child = self._spawn(part.name, command)
        if not await child.wait(part.deadline_s):
            raise self._died(part.name, f"did not end within {part.deadline_s:.0f} s")
        if child.returncode:
            raise self._died(part.name, child.how_it_ended())
        del self._children[part.name]
        self._record()

    def _spawn(self, name: str, command: Command) -> Child:
        child = Child(name, command, self.state.log(name))
        self._children[name] = child
        self._record()
        return child

    async def _await_ready(self, part: Part, child: Child) -> None:
        deadline = time.monotonic() + part.deadline_s
        while not await part.ready():
            if not child.running:
                raise self._died(part.name, f"{child.how_it_ended()} before it was ready")
            if time.monotonic() > deadline:
                raise self._died(part.name, f"was not ready within {part.deadline_s:.0f} s")
            await asyncio.sleep(_READY_POLL_S)
        child.watched = True

    async def _await_elsewhere(self, part: Part) -> None:
        deadline = time.monotonic() + part.deadline_s
        while not await part.ready():
            if time.monotonic() > deadline:
                variable = f"TWINLOOP_{part.name.upper()}"
                raise CannotStart(
                    f"Nothing answers as {part.name} at {part.where}, which {variable} names: start it, "
                    "correct "
                    f"{variable}, or unset {variable} so that one is started here."
                )
            await asyncio.sleep(_READY_POLL_S)

    def _record(self) -> None:
        own = identify(os.getpid())
        processes = [Recorded(SUPERVISOR, own.pid, own.start_ticks, time.time())]
        parts = self._planned().parts
        for child in self._children.values():
            where = parts[child.name].where if child.name in parts else ""
            ticks = child.identity.start_ticks
            processes.append(Recorded(child.name, child.pid, ticks, child.started_at, where))
        self.state.record(processes)

    def _died(self, name: str, reason: str) -> PartDied:
        return PartDied(name, reason, str(self.state.log(name)), self.logs(name))

    def _planned(self) -> Plan:
        if self._plan is None:
            raise RuntimeError("the stack has not been entered")
        return self._plan

    # ---- stopping

    async def _finish(self) -> None:
        """Stop everything, to the end: a cancellation that arrives meanwhile waits."""
        closing = asyncio.ensure_future(self._close())
        cancelled: asyncio.CancelledError | None = None
        while not closing.done():
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError as request:
                cancelled = request
        closing.result()
        if cancelled:
            raise cancelled

    async def _close(self) -> None:
        with self._resources:
            if not self._occupied:
                return
            for names in reversed(self._plan.levels() if self._plan else []):
                await asyncio.gather(*(self._stop_at_end(name) for name in names if name in self._children))
            self.state.clean()
            self._tell(Event(Kind.DOWN))

    async def _stop_at_end(self, name: str) -> None:
        part = self._planned().parts[name]
        await self._children[name].stop(part.grace_s)
        part.clean()
        self._tell(Event(Kind.STOPPED, name))


def _cause(problem: BaseException) -> BaseException:
    """What to show for a group of failures: the first that is a sentence for the operator."""
    while isinstance(problem, BaseExceptionGroup):
        problem = next(
            (one for one in problem.exceptions if isinstance(one, LocalError)), problem.exceptions[0]
        )
    return problem
