"""Kills with a change half way: each service, at each state, on the whole loop. `python -m fault.matrix`.

The asset is SUPERVISED, so that a change stays simulated until a person approves it; the other states are
held by stopping, for a moment, the process that writes the next one, and `issued` by a PLC that answers late.
The victim is killed with SIGKILL while the change stands there, started again, and the change followed to its
end.

What must hold, from the topics and the plant: every proposed change ends; its states follow its life cycle;
nobody but the state's writer wrote it; no command acted twice; a change that is called applied was in force
on the next part; the audit stores verify.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from support.waiting import Unmet, until

from twinloop.audit.store import verify_file
from twinloop.contracts.changes import (
    AnyChange,
    Applied,
    Failed,
    IllegalTransition,
    Inconclusive,
    Proposed,
    Rejected,
    SetParameter,
    State,
    advance,
    history,
    state_of,
)
from twinloop.contracts.modes import Mode
from twinloop.local.demo.commissioning import commission
from twinloop.local.demo.operator import ModeNotEntered, People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.read_back import Reader
from twinloop.local.demo.record import Record
from twinloop.local.demo.scenarios import CLOSED, asset
from twinloop.local.plan import OPERATOR
from twinloop.local.services import SERVICES, Service
from twinloop.local.stack import Stack

ASSET = asset(CLOSED)
CONFIG = Path(__file__).parents[2] / "deploy" / "local" / "config"
STATES = (State.PROPOSED, State.SIMULATED, State.APPROVED, State.ISSUED, State.APPLIED)
VICTIMS = ("controller", "twin", "line", "detector", "ingest", "historian")
NEXT_WRITER = {State.PROPOSED: "twin", State.APPROVED: "line"}
"""Who is stopped for a moment so that a change stays where it is."""
RATE_HZ = 10.0
ANSWERS_AFTER_S = 1.0
END_S = 90.0
TRIES = 3
SESSION_S = "6"


@dataclass
class Walk:
    """One stack, walked through the matrix."""

    stack: Stack
    panel: Panel
    people: People
    reader: Reader
    kills: int = 0
    record: Record = field(default_factory=Record)

    async def cell(self, victim: str, state: State) -> str:
        """Kill `victim` while a change stands at `state`; how that change ended. Raises `Unmet`."""
        proposed = await self._held(state, TRIES)
        writer = NEXT_WRITER.get(state)
        await self.stack.kill(victim)
        self.kills += 1
        if writer is not None and writer != victim:
            await self.stack.kill(writer, signal.SIGCONT)
        starting = asyncio.create_task(self.stack.start(victim))
        try:
            if state in {State.PROPOSED, State.SIMULATED}:
                await self._decided(proposed)
            return await self._ended(proposed)
        finally:
            await starting

    async def _held(self, state: State, tries: int) -> Proposed:
        """A change that stands at `state`; another one if a busy machine sheds the asset before that:
        nobody was killed yet, and what became of the first is reconciled like anything else."""
        try:
            return await self._stood(state)
        except (Unmet, httpx.HTTPStatusError):
            await self.let_go()
            if tries == 1:
                raise
        return await self._held(state, tries - 1)

    async def _stood(self, state: State) -> Proposed:
        await self._begin(state)
        known = {one.change_id for one in self.record.changes}
        writer = NEXT_WRITER.get(state)
        if writer == "twin":
            await self.stack.kill("twin", signal.SIGSTOP)
        proposed = await self._new(known, led_up=writer != "twin")
        if state is not State.PROPOSED:
            await self._stands(proposed, State.SIMULATED)
        if state not in {State.PROPOSED, State.SIMULATED}:
            if writer == "line":
                await self.stack.kill("line", signal.SIGSTOP)
            await self._approve(proposed)
            await self._stands(proposed, state)
        return proposed

    async def let_go(self) -> None:
        """Nobody stands still any more: for after a cell that did not come to its end."""
        for writer in NEXT_WRITER.values():
            await self.stack.kill(writer, signal.SIGCONT)

    async def _begin(self, state: State) -> None:
        """A dirty window from the first weld, at an asset that was just promoted."""
        await until(self._in_shadow, END_S, "the asset could not be taken down to shadow")
        await self.panel.start(
            {
                "name": f"kill-{self.kills}",
                "welds": 100_000,
                "rate_hz": RATE_HZ,
                "seed": self.kills,
                "stations": [CLOSED],
                "faults": {CLOSED: [{"kind": "window_step", "start": 0, "transmission": 0.85}]},
                "plc": {CLOSED: {"answer_after_s": ANSWERS_AFTER_S}} if state is State.ISSUED else {},
            }
        )
        self.record = await self.reader.read()
        await until(self._supervised, END_S, "the asset could not be promoted")

    async def _supervised(self) -> bool:
        """Led up; again when a service that has just started sheds what it finds."""
        with contextlib.suppress(httpx.HTTPError, ModeNotEntered):
            if (await self.people.modes(ASSET)).get("manual"):
                # The campaign was started at the panel while line had not let go yet.
                await self.people.post(OPERATOR, f"/assets/{ASSET}/hand-back", {"reason": "the next kill"})
            await self.people.promote(ASSET, Mode.SUPERVISED, "the next kill")
            return True
        return False

    async def _in_shadow(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            mode = await self.people.modes(ASSET)
            if mode.get("manual"):  # the campaign before was ended at the panel, as by an operator
                await self.people.post(OPERATOR, f"/assets/{ASSET}/hand-back", {"reason": "the next kill"})
            elif mode and mode["actual"] != Mode.SHADOW:
                await self.people.post(
                    OPERATOR, f"/assets/{ASSET}/mode", {"mode": str(Mode.SHADOW), "reason": "the next kill"}
                )
            else:
                return bool(mode)
        return False

    async def _look(self) -> dict[str, list[AnyChange]]:
        self.record = await self.reader.read()
        return history(self.record.changes)

    async def _new(self, known: set[str], *, led_up: bool) -> Proposed:
        """`led_up`: again, when what a service that has just started works off is too old for the guards."""
        found: list[Proposed] = []

        async def there() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                if led_up and (await self.people.modes(ASSET)).get("actual") == Mode.SHADOW:
                    await self._supervised()
            for change_id, events in (await self._look()).items():
                if change_id not in known and isinstance(events[0], Proposed):
                    found.append(events[0])
            return bool(found)

        await until(there, END_S, "no change was proposed")
        return found[0]

    async def _stands(self, proposed: Proposed, state: State) -> None:
        async def there() -> bool:
            events = (await self._look())[proposed.change_id]
            if any(state_of(one) is state for one in events):
                return True
            if state_of(events[-1]).final:
                raise Unmet(f"change {proposed.change_id} did not reach {state}: {_end(events[-1])}")
            return False

        await until(there, END_S, f"change {proposed.change_id} did not reach {state}")

    async def _approve(self, proposed: Proposed) -> None:
        await self.people.post(
            OPERATOR, f"/changes/{proposed.change_id}/approve", {"reason": "the forecast is convincing"}
        )

    async def _decided(self, proposed: Proposed) -> None:
        """Approve, as soon as the twin can be asked; a change that ended meanwhile needs no decision."""

        async def decided() -> bool:
            events = (await self._look())[proposed.change_id]
            if state_of(events[-1]) not in {State.PROPOSED, State.SIMULATED}:
                return True
            with contextlib.suppress(httpx.HTTPError):
                await self._approve(proposed)
            return False

        await until(decided, END_S, f"change {proposed.change_id} could not be approved")

    async def _ended(self, proposed: Proposed) -> str:
        last: list[AnyChange] = []

        async def there() -> bool:
            last[:] = (await self._look())[proposed.change_id]
            return state_of(last[-1]).final

        await until(there, END_S, lambda: f"change {proposed.change_id} stands at {state_of(last[-1])}")
        return _end(last[-1])

    async def reconcile(self) -> str:
        """Raises `Unmet` unless everything holds for all changes. In shadow none waits for long."""
        await until(self._in_shadow, END_S, "the asset could not be taken down to shadow")
        with contextlib.suppress(Unmet):  # which one is told below
            await until(self._all_ended, END_S, "a change stands")
        changes = await self._look()
        problems = [one for events in changes.values() for one in _wrong(events, self.record)]
        acted = await self._acted()
        applied = sum(any(isinstance(one, Applied) for one in events) for events in changes.values())
        issued = sum(any(state_of(one) is State.ISSUED for one in events) for events in changes.values())
        if not applied <= acted <= issued:
            problems.append(f"the PLC acted {acted} times on {issued} issued commands, {applied} applied")
        for file in sorted((self.stack.state.root / "audit").glob("*.jsonl")):
            problems += [f"{file.name}: {one}" for one in verify_file(file)]
        if problems:
            raise Unmet("\n  ".join(problems))
        return f"{len(changes)} changes, {issued} issued, {acted} acted, {applied} applied; audit intact"

    async def _all_ended(self) -> bool:
        return all(state_of(events[-1]).final for events in (await self._look()).values())

    async def _acted(self) -> int:
        """How often the PLC accepted a setpoint."""
        async with httpx.AsyncClient(base_url=self.stack.endpoints.health["simulator"]) as client:
            text = (await client.get("/metrics")).text
        return sum(
            int(float(line.rsplit(" ", 1)[1]))
            for line in text.splitlines()
            if line.startswith("twinloop_simulator_commands_total{")
            and 'method="SetParameter"' in line
            and 'code="Good"' in line
        )


def _end(last: AnyChange) -> str:
    why = f" ({last.reason})" if isinstance(last, Failed | Inconclusive | Rejected) else ""
    return f"{state_of(last)}{why}"


def _wrong(events: Sequence[AnyChange], record: Record) -> list[str]:
    """What speaks against a change's history, `events` in order, repeats dropped."""
    name, problems = events[0].change_id[:8], []
    state: State | None = None
    for one in events:
        try:
            state = advance(state, one)
        except IllegalTransition as error:
            problems.append(str(error))
    if state is None or not state.final:
        problems.append(f"change {name} stands at {state}: it is lost")
    proposed = events[0]
    for one in events:
        if isinstance(one, Applied) and isinstance(proposed, Proposed):
            problems += _not_in_force(proposed, one, record)
    return problems


def _not_in_force(proposed: Proposed, applied: Applied, record: Record) -> list[str]:
    action = proposed.action
    after = sorted(
        (one for one in record.joints if one.asset == applied.asset and one.sequence > applied.part_counter),
        key=lambda one: one.sequence,
    )
    if not after or not isinstance(action, SetParameter):
        return []
    if abs(after[0].power_w - action.value) > 0.5:
        return [f"change {applied.change_id[:8]} is called applied, but a part has {after[0].power_w} W"]
    return []


def _hurried(service: Service, folder: Path) -> Service:
    """Found dead sooner, and allowed more travel: an hour of kills moves more than an hour of production."""
    name = service.name.upper()
    settings = {f"TWINLOOP_{name}_SESSION_TIMEOUT_S": SESSION_S}
    if service.name in {"controller", "line"}:
        limits = (CONFIG / f"{service.name}.toml").read_text()
        folder.mkdir(parents=True, exist_ok=True)
        wider = folder / f"{service.name}.toml"
        wider.write_text(re.sub(r"(?m)^hourly_travel = .*$", "hourly_travel = 1e6", limits))
        settings[f"TWINLOOP_{name}_ASSETS"] = str(wider)
    return service.with_settings(**settings)


@contextlib.asynccontextmanager
async def walk(folder: Path, say: Callable[[str], None]) -> AsyncIterator[Walk]:
    """A commissioned stack."""
    services = [_hurried(one, folder) for one in SERVICES]
    async with Stack(folder, services=services, env={"TWINLOOP_LOG_FORMAT": "json"}) as stack:
        where = stack.endpoints
        async with (
            Panel(where.health["simulator"]) as panel,
            People(where.health["twin"], stack.state.certs / "tokens") as people,
            Reader(where.kafka, where.topic_prefix) as reader,
        ):
            await commission(stack, panel, say)
            yield Walk(stack, panel, people, reader)


async def main(folder: Path, victims: Sequence[str], states: Sequence[State], times: int) -> int:
    """Walk, reconcile, tell; the exit status."""

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    begun, unmet = time.monotonic(), list[str]()
    async with walk(folder, say) as one:
        for victim in victims:
            for state in states:
                ends = list[str]()
                for _ in range(times):
                    try:
                        ends.append(await one.cell(victim, state))
                    except Unmet as problem:  # told at the end: the other cells are to be seen, too
                        ends.append(f"not met ({problem})")
                        unmet.append(f"{victim} killed while {state}: {problem}")
                        await one.let_go()
                told = ", ".join(f"{ends.count(end)} {end}" for end in sorted(set(ends)))
                say(f"{victim:<11}{state:<10} {times} kills: {told}")
        try:
            held = await one.reconcile()
        except Unmet as problem:
            unmet.append(str(problem))
        took = f"{one.kills} kills in {time.monotonic() - begun:.0f} s"
        say(f"FAILED, {took}:\n  " + "\n  ".join(unmet) if unmet else f"held, {took}: {held}")
    return 1 if unmet else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fault.matrix", description=__doc__)
    parser.add_argument("--victims", nargs="*", choices=VICTIMS, default=VICTIMS)
    parser.add_argument("--states", nargs="*", type=State, choices=STATES, default=STATES)
    parser.add_argument("--times", type=int, default=10, help="kills of each victim at each state")
    parser.add_argument("--folder", type=Path, help="keep state and logs here")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="twinloop-matrix-") as scratch:
        work: Awaitable[int] = main(
            given.folder or Path(scratch) / "stack", given.victims, given.states, given.times
        )
        sys.exit(asyncio.run(work))  # type: ignore[arg-type]
