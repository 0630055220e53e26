"""`make demo`: the whole loop for real, one scenario, a verdict: `python -m twinloop.local.demo`.

Exit status 0 when the scenario ended as it must, 1 when not, 2 when something must be put right first.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import msgspec
from rich.console import Console
from rich.live import Live

from twinloop.local.console import Printer
from twinloop.local.demo import display
from twinloop.local.demo.commissioning import commission
from twinloop.local.demo.field import play_field
from twinloop.local.demo.operator import ModeNotEntered, People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.play import PlayError, Saved, play_led
from twinloop.local.demo.read_back import SLOW_LOOP, Reader
from twinloop.local.demo.report import Report
from twinloop.local.demo.scenarios import SCENARIOS, Scenario
from twinloop.local.demo.stage import Elsewhere, Stage
from twinloop.local.interrupts import run_command
from twinloop.local.pages import where_to_look
from twinloop.local.places import find_places
from twinloop.local.services import SERVICES, select
from twinloop.local.stack import Stack
from twinloop.local.state import state_of_play

_LOG_WIDTH = 130
FIELD = "field"
"""The scenario of the slow loop."""
VEHICLES = 2000


class Screen:
    """Live display on a terminal; a line every few looks in a log."""

    def __init__(self, console: Console, scenario: Scenario) -> None:
        self._console = console
        self._scenario = scenario
        self._live: Live | None = None
        self._looks = 0

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """For the time that the scenario plays."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, refresh_per_second=4) as self._live:
            yield

    def show(self, report: Report) -> None:
        """The newest counts."""
        if self._live is not None:
            self._live.update(display.live(self._scenario, report))
        elif self._looks % 10 == 0:
            self._console.print(display.live_line(self._scenario, report), highlight=False, soft_wrap=True)
        self._looks += 1


async def run_scenario(stack: Stage, scenario: Scenario, console: Console) -> Report:
    """Commission, train and play `scenario` on a running stack, and print the report."""
    where, tokens = stack.endpoints, stack.state.certs / "tokens"
    say = partial(console.print, highlight=False, soft_wrap=True)
    async with (
        Panel(where.health["simulator"]) as panel,
        People(where.health["twin"], tokens) as people,
        Reader(where.kafka_access, where.topic_prefix) as reader,
    ):
        await commission(stack, panel, say)
        console.print(f"\n[bold]{scenario.name}[/]: {scenario.story}")
        screen = Screen(console, scenario)
        with screen.showing():
            report, since = await play_led(scenario, panel, people, reader, say, screen.show)
    saved = Saved(report=report, since=dict(since), topic_prefix=where.topic_prefix, closed=report.closed)
    (stack.state.root / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(saved), indent=1))
    console.print()
    console.print(display.final(scenario, report))
    console.print()
    console.print(
        display.verdict(report), style="bold green" if report.closed else "bold red", soft_wrap=True
    )
    return report


async def run_field(stack: Stage, vehicles: int, console: Console) -> bool:
    """Commission, build `vehicles`, let them drive and tell, and print what came of it."""
    where, tokens = stack.endpoints, stack.state.certs / "tokens"
    say = partial(console.print, highlight=False, soft_wrap=True)
    async with (
        Panel(where.health["simulator"]) as panel,
        People(where.health["twin"], tokens) as twin,
        Reader(where.kafka_access, where.topic_prefix, SLOW_LOOP) as reader,
    ):
        await commission(stack, panel, say)
        report = await play_field(stack, panel, twin, reader, say, vehicles)
    (stack.state.root / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    console.print()
    console.print(display.field(report))
    console.print()
    style = "bold green" if report.closed else "bold red"
    console.print(display.field_verdict(report), style=style, soft_wrap=True)
    return report.closed


async def played(
    stack: Stage, scenario: Scenario | None, options: argparse.Namespace, console: Console
) -> bool:
    """Whether it ended as it must; without a `scenario`, the slow loop's."""
    if scenario is None:
        return await run_field(stack, options.vehicles, console)
    return (await run_scenario(stack, scenario, console)).closed


async def demo(options: argparse.Namespace, console: Console) -> int:
    """Start everything, play, judge, stop everything; with `keep` stop only when told.

    With `elsewhere` play on what runs already: nothing is started, and nothing stopped.
    """
    scenario = SCENARIOS.get(options.scenario)
    if options.elsewhere:
        return 0 if await played(Elsewhere.of(options.state, os.environ), scenario, options, console) else 1
    left_out = frozenset() if scenario is None else scenario.left_out
    services = select([one.name for one in SERVICES if one.name not in left_out])
    async with Stack(options.state, services=services, env=os.environ, listener=Printer(console)) as stack:
        closed = await stack.guard(played(stack, scenario, options, console))
        console.print()
        console.print(where_to_look(stack.endpoints, running=options.keep), highlight=False, soft_wrap=True)
        if options.keep:
            console.print("\neverything is still running: press Ctrl-C to stop it")
            await stack.watch()
    return 0 if closed else 1


def _console() -> Console:
    """The terminal, or a log that is wide enough for a table."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, _LOG_WIDTH))


def main() -> int:
    """Parse the command line, play, and turn what went wrong into one sentence."""
    parser = argparse.ArgumentParser(prog="twinloop.local.demo", description=__doc__)
    parser.add_argument("--scenario", choices=sorted([*SCENARIOS, FIELD]), default="window-drift")
    parser.add_argument("--vehicles", type=int, default=VEHICLES, help=f"of {FIELD} (%(default)s)")
    parser.add_argument("--state", type=Path, default=state_of_play(find_places(), os.environ, "demo").root)
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    parser.add_argument(
        "--elsewhere",
        action="store_true",
        help="play on a stack that runs already, whose addresses the environment holds as endpoints.env does",
    )
    options = parser.parse_args()
    console = _console()

    async def work() -> int:
        try:
            return await demo(options, console)
        except (PlayError, ModeNotEntered, httpx.HTTPError) as error:
            console.print(
                f"VERDICT: loop NOT closed: {error}", style="bold red", markup=False, soft_wrap=True
            )
            return 1

    return run_command(work())


if __name__ == "__main__":
    sys.exit(main())
