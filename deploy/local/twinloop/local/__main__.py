"""`python -m twinloop.local up|down|ps|logs|open|read|alerts|query|weld`: the whole loop on this machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from typing import TextIO

import psutil
from rich.console import Console

from twinloop.local import ask, probes, supervisor
from twinloop.local.console import Printer, table
from twinloop.local.errors import CannotStart, LocalError
from twinloop.local.interrupts import run_command
from twinloop.local.pages import where_to_look
from twinloop.local.peek import last_records
from twinloop.local.places import find_places
from twinloop.local.plan import Endpoints
from twinloop.local.process import tail
from twinloop.local.state import SUPERVISOR, Recorded, StateFolder, default_state
from twinloop.local.weld import FAULTS, Order, weld

_FOLLOW_S = 0.3
_MIB = 1024 * 1024


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    state = default_state(find_places(), os.environ)
    try:
        return _COMMANDS[options.command](state, options)
    except LocalError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m twinloop.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start parts and services in the background")
    commands.add_parser("supervise")  # what `up` runs in the background
    commands.add_parser("down", help="stop them")
    commands.add_parser("ps", help="what runs")
    commands.add_parser("open", help="where to look")
    logs = commands.add_parser("logs", help="the last lines of the logs")
    logs.add_argument("service", nargs="?", default="", help="one part or service (default: all)")
    logs.add_argument("--lines", type=int, default=20)
    logs.add_argument("--follow", action="store_true")
    read = commands.add_parser("read", help="the last records of a topic")
    read.add_argument("topic")
    read.add_argument("--last", type=int, default=10, help="records of each partition")
    read.add_argument("--follow", action="store_true")
    commands.add_parser("alerts", help="what Prometheus alerts of")
    asking = commands.add_parser("query", help="ask Prometheus")
    asking.add_argument("expression", help="PromQL")
    welding = commands.add_parser("weld", help="let the plant weld")
    welding.add_argument("--welds", type=int, default=36_000, help="parts at each station (%(default)s)")
    welding.add_argument("--rate", type=float, default=10.0, help="a second (%(default)g)")
    welding.add_argument("--fault", choices=sorted(FAULTS), help="what is wrong from the 51st part on")
    welding.add_argument("--seed", type=int, help="of the noise (default: another one each time)")
    welding.add_argument("--wait", action="store_true", help="until it is done")
    return parser


def _up(state: StateFolder, options: argparse.Namespace) -> int:
    return supervisor.start(state, Printer(Console()))


def _supervise(state: StateFolder, options: argparse.Namespace) -> int:
    return supervisor.supervise(state)


def _down(state: StateFolder, options: argparse.Namespace) -> int:
    names = supervisor.stop(state)
    print(f"Stopped: {', '.join(reversed(names))}." if names else "Nothing was running.")
    return 0


def _ps(state: StateFolder, options: argparse.Namespace) -> int:
    recorded = state.recorded()
    if not any(one.alive for one in recorded):
        print(f"Nothing is running in {state.root}.")
        for line in tail(state.supervisor_log):
            print(f"  | {line}")
        return 0
    answers = asyncio.run(_ask(recorded))
    rows = [_row(one, answer) for one, answer in zip(recorded, answers, strict=True)]
    table(Console(), ("name", "state", "pid", "memory", "up for", "where"), rows)
    return 0


async def _ask(recorded: list[Recorded]) -> list[str]:
    async def ask(one: Recorded) -> str:
        if not one.alive:
            return "ended"
        if not one.where.startswith("http://"):
            return "running"
        ready = await probes.http_ok(one.where.removeprefix("http://"), "/health/ready")
        return "ready" if ready else "not ready"

    return list(await asyncio.gather(*(ask(one) for one in recorded)))


def _row(one: Recorded, answer: str) -> tuple[str, ...]:
    memory = "-"
    if one.alive:
        with contextlib.suppress(psutil.Error):
            memory = f"{psutil.Process(one.pid).memory_info().rss / _MIB:.0f} MiB"
    since = f"{time.time() - one.started_at:.0f} s"
    return (one.name, answer, str(one.pid), memory, since, one.where)


def _logs(state: StateFolder, options: argparse.Namespace) -> int:
    paths = [state.log(options.service)] if options.service else sorted(state.logs.glob("*.log"))
    if options.service and not paths[0].exists():
        there = ", ".join(sorted(path.stem for path in state.logs.glob("*.log")))
        raise CannotStart(f"{state.logs} has no log of {options.service}: there are {there or 'none yet'}.")
    for path in paths:
        for line in tail(path, options.lines):
            print(f"{path.stem}: {line}" if len(paths) > 1 else line)
    if options.follow:
        _follow([path.open(errors="replace") for path in paths])
    return 0


def _follow(files: Sequence[TextIO]) -> None:
    for file in files:
        file.seek(0, os.SEEK_END)
    while True:
        for file in files:
            for line in file:
                print(line, end="", flush=True)
        time.sleep(_FOLLOW_S)


def _open(state: StateFolder, options: argparse.Namespace) -> int:
    print(where_to_look(_running(state), running=True))
    return 0


def _read(state: StateFolder, options: argparse.Namespace) -> int:
    endpoints = _running(state)
    topic = endpoints.topic_prefix + options.topic

    async def work() -> int:
        async for line in last_records(endpoints.kafka_access, topic, options.last, follow=options.follow):
            print(line, flush=True)
        return 0

    return run_command(work())


def _alerts(state: StateFolder, options: argparse.Namespace) -> int:
    rows = ask.alerts(_running(state))
    if not rows:
        print("No alert is pending or fires.")
        return 0
    table(Console(), ("alert", "state", "severity", "what"), rows)
    return 0


def _query(state: StateFolder, options: argparse.Namespace) -> int:
    rows = ask.query(_running(state), options.expression)
    for series, value in rows:
        print(f"{series:<60} {value}" if series else value)
    if not rows:
        print("(nothing)")
    return 0


def _weld(state: StateFolder, options: argparse.Namespace) -> int:
    health = _running(state).health
    if "simulator" not in health:
        raise CannotStart(f"The stack in {state.root} has no plant.")
    seed = time.time_ns() if options.seed is None else options.seed
    order = Order(options.welds, options.rate, options.fault, seed)

    async def work() -> int:
        await weld(health["simulator"], order, wait=options.wait, say=lambda text: print(text, flush=True))
        return 0

    return run_command(work())


def _running(state: StateFolder) -> Endpoints:
    endpoints = state.endpoints()
    if not endpoints or not any(one.alive for one in state.recorded() if one.name == SUPERVISOR):
        raise CannotStart(f"Nothing is running in {state.root}: start it with `make up`.")
    return Endpoints.from_environment(state.root, endpoints)


_COMMANDS = {
    "up": _up,
    "supervise": _supervise,
    "down": _down,
    "ps": _ps,
    "open": _open,
    "logs": _logs,
    "read": _read,
    "alerts": _alerts,
    "query": _query,
    "weld": _weld,
}

if __name__ == "__main__":
    sys.exit(main())
