"""Plays a scenario on a running, commissioned stack: lead up, weld, wait until all is settled, judge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from twinloop.contracts.events import AlarmCode
from twinloop.contracts.modes import Mode
from twinloop.local.demo.operator import People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.read_back import Reader
from twinloop.local.demo.report import Report, Since, count
from twinloop.local.demo.scenarios import CLOSED, Scenario, asset, set_up
from twinloop.local.demo.verdict import judge, settled
from twinloop.local.errors import LocalError
from twinloop.local.plan import OPERATOR

LOOK_EVERY_S = 0.5
SETTLE_S = 15.0
"""How long after the last weld everything still under way may take."""
PLAYS = 3
TOO_LATE = frozenset({AlarmCode.INPUT_INVALID, AlarmCode.WATCHDOG})
"""Why an asset is shed when parts or heartbeats come late: no scenario asks for it."""
_SET_UP_S = 30.0
_NOTICED_S = 10.0
"""Within this the line has read a setpoint that it did not write."""


class PlayError(LocalError):
    """Raised when a scenario cannot be played to its end.

    Operator action: the message names the service to look at; its log is in the state folder.
    """


async def _since(panel: Panel, scenario: Scenario) -> Since:
    """The first part counter of the campaign at each station, once each has welded."""
    try:
        async with asyncio.timeout(30):
            while True:
                stations = (await panel.progress()).stations
                first = {name: stations[name].first_sequence for name in scenario.stations}
                if all(sequence is not None for sequence in first.values()):
                    return {name: sequence for name, sequence in first.items() if sequence is not None}
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise PlayError("the stations do not weld: look at the simulator's log") from None


async def play(
    scenario: Scenario, panel: Panel, reader: Reader, show: Callable[[Report], None]
) -> tuple[Report, Since]:
    """Play `scenario` and judge it from what `reader` finds in the topics; `show` is called as it goes.

    The reader's record begins with the run, so the commissioning parts are told apart by `since`, the first
    part counter of the scenario at each station. Raises `PlayError`.
    """
    await panel.start(scenario.campaign())
    since = await _since(panel, scenario)
    deadline = asyncio.get_running_loop().time() + 60 + 3 * scenario.welds / scenario.rate_hz
    while True:
        progress = await panel.progress()
        show(count(scenario, await reader.read(), since))
        if progress.finished:
            break
        if asyncio.get_running_loop().time() > deadline:
            raise PlayError("the campaign did not end in three times its time: look at the simulator's log")
        await asyncio.sleep(LOOK_EVERY_S)
    held = any(station.held for station in progress.stations.values())
    record = await reader.until(
        lambda one: settled(scenario, one, since, station_held=held), timeout_s=SETTLE_S
    )
    report = judge(scenario, record, since)
    show(report)
    return report, since


async def play_led(
    scenario: Scenario,
    panel: Panel,
    people: People,
    reader: Reader,
    say: Callable[[str], None],
    show: Callable[[Report], None],
) -> tuple[Report, Since]:
    """Have the asset led up to AUTO, and `play`.

    A machine that stands still for seconds makes parts and heartbeats late; then the asset is shed, as it
    must be, and what is played says nothing about the loop. So it is played again, `PLAYS` times at most.
    Raises `PlayError`, `ModeNotEntered`, `httpx.HTTPError`.
    """
    name = asset(CLOSED)
    for left in reversed(range(PLAYS)):
        if (await people.modes(name)).get("actual") != Mode.AUTO:
            await people.lead_up(name, Mode.AUTO, f"commissioned for {scenario.name}")
            say(f"{CLOSED} is in AUTO: an engineer led it there, one mode after the other")
        report, since = await play(scenario, panel, reader, show)
        late = sorted(TOO_LATE & report.alarms.keys())
        if report.closed or not late or not left:
            break
        say(f"this machine was too busy ({', '.join(late)}): {CLOSED} was shed, and it is played again")
        await set_up_again(panel, people, name)
        await reader.forget()
    return report, since


async def set_up_again(panel: Panel, people: People, name: str) -> None:
    """What earlier plays have corrected is set back, as a campaign's beginning does. The line takes that for
    an operator's hand, as it should, and the asset is handed back. Raises `httpx.HTTPError`."""
    await panel.start(set_up())
    await panel.finished(_SET_UP_S)
    end = asyncio.get_running_loop().time() + _NOTICED_S
    while asyncio.get_running_loop().time() < end:
        if (await people.modes(name)).get("manual"):
            await people.post(OPERATOR, f"/assets/{name}/hand-back", {"reason": "set up for another play"})
            return
        await asyncio.sleep(LOOK_EVERY_S)


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A run's report as a file, for whoever wants to count again."""

    report: Report
    since: dict[str, int]
    topic_prefix: str
    closed: bool
