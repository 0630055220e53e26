"""Plays a scenario on a running, commissioned stack: weld, wait until all is settled, judge."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from twinloop.local.demo.panel import CampaignProgress, Panel
from twinloop.local.demo.read_back import Reader
from twinloop.local.demo.report import Report, Since, count
from twinloop.local.demo.scenarios import Scenario
from twinloop.local.demo.verdict import judge, settled
from twinloop.local.errors import LocalError

LOOK_EVERY_S = 0.5
SETTLE_S = 15.0
"""How long after the last weld everything still under way may take."""


class PlayError(LocalError):
    """Raised when a scenario cannot be played to its end.

    Operator action: the message names the service to look at; its log is in the state folder.
    """


async def finished(panel: Panel, timeout_s: float) -> CampaignProgress:
    """The progress of the present campaign once it is finished."""
    async with asyncio.timeout(timeout_s):
        while True:
            progress = await panel.progress()
            if progress.finished:
                return progress
            await asyncio.sleep(LOOK_EVERY_S / 2)


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


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A run's report as a file, for whoever wants to count again."""

    report: Report
    since: dict[str, int]
    topic_prefix: str
    closed: bool
