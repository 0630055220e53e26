"""The slow loop, played: vehicles are built, months of driving pass, and what they tell changes the line.

    fleet built with a marginal spell at one station -> driven -> finding -> proposal -> a person approves
    -> the quality gate is tighter -> the next fleet is built and measured under it

What is asked of people goes through the public APIs; whether it ended as it must is `field_verdict`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from twinloop.contracts.changes import Proposed, State, state_of
from twinloop.contracts.modes import Mode
from twinloop.local.demo.commissioning import modelops, served
from twinloop.local.demo.field_verdict import FieldReport, Fleet, Spell, judge
from twinloop.local.demo.models import into_service
from twinloop.local.demo.operator import ENGINEER, People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.play import PlayError
from twinloop.local.demo.read_back import Reader
from twinloop.local.demo.record import Record
from twinloop.local.demo.scenarios import CLOSED, OPEN, asset
from twinloop.local.demo.stage import Stage
from twinloop.local.jobs import run_job
from twinloop.local.pages import relative
from twinloop.local.plan import OPERATOR

START: Final = datetime(2025, 1, 10, tzinfo=UTC)
"""When the first joint was welded: `field.toml` cuts build time from a few days before on."""

NEXT: Final = datetime(2025, 6, 10, tzinfo=UTC)
"""When the next fleet is begun: after the build time that the slow loop looks at, so it is only measured."""
_DAYS, _A_WEEK = 130.0, 1.0
_NEXT_DAYS, _NEXT_A_WEEK = 90.0, 0.02
_DAYS_PER_S: Final = 3.0
_MINUTES_PER_S: Final = 200.0
"""As fast as two cores take minutes of vehicles while the station's parts stay fresh."""
_SPELL: Final = {"kind": "window_step", "start": 5990, "until": 9390, "transmission": 0.9}
_LOOK_EVERY_S: Final = 1.0
_FLEET_S: Final = 600.0
_TOLD_S: Final = 180.0
_PRODUCTION: Final = {
    "name": "production",
    "welds": 100_000,
    "rate_hz": 5.0,
    "seed": 11,
    "stations": [CLOSED],
    "faults": {},
    "plc": {},
}
"""What the station goes on making while vehicles drive."""

Say = Callable[[str], None]


async def play_field(
    stack: Stage, panel: Panel, twin: People, reader: Reader, say: Say, vehicles: int
) -> FieldReport:
    """Play it on a running, commissioned stack. Raises `PlayError`."""
    where = stack.endpoints
    await _serve_cells(stack, say)
    await panel.start(_PRODUCTION)  # the gate in force is known from fresh parts alone
    await twin.lead_up(asset(CLOSED), Mode.SUPERVISED, "evidence from the field may ask for a change")
    say(f"\nfield: {vehicles} vehicles, {_DAYS:.0f} days; for two of them the window of {CLOSED} was dirty")
    first = await _fleet(panel, say, _order("before", vehicles, START, _DAYS, _A_WEEK))
    proposed = await _proposed(reader, twin, say)
    async with People(where.health["controller"], stack.state.certs / "tokens") as controller:
        recalled = await _recall(controller, reader)
    say(f"an operator reads the forecast and approves {proposed.change_id[:8]}: {proposed.reason}")
    await twin.post(
        OPERATOR, f"/changes/{proposed.change_id}/approve", {"reason": "the vehicles' evidence is convincing"}
    )
    await _reached(reader, proposed, State.APPLIED)
    say("the gate is in force; the next parts are measured under it")
    record = await _reached(reader, proposed, State.VERIFIED)
    second = await _fleet(panel, say, _order("after", vehicles, NEXT, _NEXT_DAYS, _NEXT_A_WEEK))
    return judge(record, first, second, recalled, vehicles)


async def _serve_cells(stack: Stage, say: Say) -> None:
    """The model of vehicles, beside that of welds."""
    where, out = stack.endpoints, relative(stack.state.artefacts / "cells")
    made = await run_job(
        "twinloop.trainer",
        *("cells", "--groups", "96", "--model", "cells", "--out", str(out)),
        environment=where.environment(),
        timeout_s=180,
        log=stack.state.log("trainer-cells"),
    )
    say(made.strip())
    async with modelops(stack) as people:
        say(await into_service(people, out, "vehicles of this fleet have 96 cell groups"))
    await served(where.health["detector-vehicles"], routes=2)


def _order(name: str, vehicles: int, start: datetime, days: float, a_week: float) -> dict[str, Any]:
    """The request for the panel: both fleets have the same spell, days into their production."""
    minutes_a_day = vehicles * a_week / 7
    return {
        "name": name,
        "vehicles": vehicles,
        "stations": [CLOSED, OPEN],
        "seed": 3,
        "days": days,
        "days_per_s": min(_DAYS_PER_S, _MINUTES_PER_S / minutes_a_day),
        "snippets_per_week": a_week,
        "start": start.isoformat(),
        "faults": {CLOSED: [_SPELL]},
    }


async def _fleet(panel: Panel, say: Say, order: dict[str, Any]) -> Fleet:
    await panel.build_fleet(order)
    stage, looks = "", 0
    try:
        async with asyncio.timeout(_FLEET_S):
            while True:
                now = await panel.fleet()
                if now["stage"] == "failed":
                    raise PlayError(f"the fleet cannot be built: {now['problem']}")
                if now["stage"] != stage or looks % 15 == 0:
                    stage = now["stage"]
                    minutes = f"{now['minutes_sent']} of {now['minutes']} minutes"
                    say(f"  {stage}: {now['told']} vehicles, {minutes}")
                if stage == "finished":
                    return Fleet(
                        spells=tuple(Spell.of(one) for one in now["spells"]),
                        rejected={one: made["rejected"] for one, made in now["stations"].items()},
                    )
                looks += 1
                await asyncio.sleep(_LOOK_EVERY_S)
    except TimeoutError:
        raise PlayError("the fleet did not come to its end: look at the simulator's log") from None


async def _proposed(reader: Reader, twin: People, say: Say) -> Proposed:
    """The proposal that follows from the vehicles' evidence."""
    record = await reader.until(lambda one: bool(one.findings), timeout_s=_TOLD_S)
    for finding in record.findings:
        say(f"finding: {finding.text}")
    if not record.findings:
        raise PlayError("nothing was found in the field: look at the logs of detector and controller")

    def found(record: Record) -> list[Proposed]:
        return [one for one in record.changes if isinstance(one, Proposed) and one.asset == asset(CLOSED)]

    end = asyncio.get_running_loop().time() + _TOLD_S
    while not found(record):
        if asyncio.get_running_loop().time() > end:
            raise PlayError("no change was proposed: look at the logs of detector and controller")
        if (await twin.modes(asset(CLOSED))).get("actual") == Mode.SHADOW:
            say(f"{CLOSED} was taken down to shadow: the alarm calls a person, who leads it up again")
            await twin.lead_up(asset(CLOSED), Mode.SUPERVISED, "the vehicles' evidence calls a person")
        record = await reader.until(lambda one: bool(found(one)), timeout_s=_LOOK_EVERY_S)
    return found(record)[0]


async def _reached(reader: Reader, proposed: Proposed, state: State) -> Record:
    def there(record: Record) -> bool:
        return any(one.change_id == proposed.change_id and state_of(one) is state for one in record.changes)

    return await reader.until(there, timeout_s=60)


async def _recall(controller: People, reader: Reader) -> frozenset[str]:
    """Who would be called back, asked as an operator asks."""
    findings = (await reader.read()).findings
    if not findings:
        return frozenset()
    one = findings[0]
    try:
        answer = await controller.get(
            ENGINEER,
            f"/recall?station={one.asset}&from={_stamp(one.window_from)}&to={_stamp(one.window_to)}",
        )
    except httpx.HTTPError as error:
        raise PlayError(f"the recall was not answered: {error}") from error
    return frozenset(vehicle["vehicle"] for vehicle in answer["vehicles"])


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
