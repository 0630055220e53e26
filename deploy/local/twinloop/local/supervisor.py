"""The process that runs the stack in the background, and how the terminal starts and stops it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from twinloop.local.errors import CannotStart, LocalError
from twinloop.local.events import Event, Kind, Listener
from twinloop.local.interrupts import run_command
from twinloop.local.keys.secured import Secure
from twinloop.local.plan import PARTS
from twinloop.local.process import Identity, tail
from twinloop.local.services import SERVICES
from twinloop.local.stack import Stack
from twinloop.local.state import SUPERVISOR, StateFolder

_STOP_S = 60.0
_POLL_S = 0.05


# ---- in the background


def supervise(state: StateFolder) -> int:
    """Run the whole stack until SIGTERM, or until a part dies.

    Events go to standard output until everything is ready.
    """

    async def work() -> int:
        try:
            more = [one for one in os.environ.get("TWINLOOP_WITH", "").split(",") if one]
            async with Stack(
                state.root,
                parts=(*PARTS, *more),
                services=SERVICES,
                fresh=False,
                secure=_secure(os.environ),
                listener=_report,
            ) as stack:
                _let_go_of_output()
                await stack.watch()
        except LocalError as problem:
            _report(Event(Kind.FAILED, text=str(problem), exit_code=problem.exit_code))
            raise
        return 0

    return run_command(work())


def _secure(environ: Mapping[str, str]) -> Secure | None:
    """`TWINLOOP_SECURE=1`: with users, TLS and ACLs."""
    if environ.get("TWINLOOP_SECURE", "") in ("", "0"):
        return None
    return Secure(sites=(environ.get("TWINLOOP_TOPIC_PREFIX", ""),))


def _report(event: Event) -> None:
    with contextlib.suppress(BrokenPipeError):  # the terminal that started us is gone: nobody to tell
        print(json.dumps(asdict(event)), flush=True)


def _let_go_of_output() -> None:
    """End the pipe to the terminal, which then returns; what is printed later goes nowhere."""
    with Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())


# ---- at the terminal


def start(state: StateFolder, show: Listener) -> int:
    """Start the stack in the background and wait until it is ready; returns the exit status."""
    if state.is_held():
        raise CannotStart(
            f"The stack in {state.root} is already running: see it with `make ps`, stop it with `make down`."
        )
    state.root.mkdir(parents=True, exist_ok=True)
    with state.supervisor_log.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "twinloop.local", "supervise"],
            env={**os.environ, "TWINLOOP_STATE": str(state.root)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        for event in _events(process):
            show(event)
            if event.kind is Kind.FAILED:
                process.wait()
                print(event.text, file=sys.stderr)
                return event.exit_code
            if event.kind is Kind.UP:
                return 0
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        process.wait()
        print("Stopped; nothing is left running.", file=sys.stderr)
        return 128 + signal.SIGINT
    process.wait()
    lines = "\n".join(f"  | {line}" for line in tail(state.supervisor_log))
    print(
        f"The supervisor ended too early. The last lines of its log:\n{lines}",
        file=sys.stderr,
    )
    return 1


def _events(process: subprocess.Popen[bytes]) -> Iterator[Event]:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            fields = json.loads(line)
            yield Event(**{**fields, "kind": Kind(fields["kind"])})


def stop(state: StateFolder) -> list[str]:
    """Stop whatever runs in the state folder, also when its supervisor is gone; returns what was stopped."""
    if not state.root.exists():
        return []
    recorded = state.recorded()
    names = [one.name for one in recorded if one.alive]
    for one in recorded:
        if one.name == SUPERVISOR and one.alive and state.is_held():
            _end(Identity(one.pid, one.start_ticks), state)
    with state.held():
        state.stop_recorded()
    return names


def _end(supervisor: Identity, state: StateFolder) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(supervisor.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while supervisor.alive() and state.is_held():
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(supervisor.pid, signal.SIGKILL)
        time.sleep(_POLL_S)
