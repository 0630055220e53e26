"""Ctrl-C and SIGTERM as a cancellation, so that everything entered is left again in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass

from twinloop.local.errors import LocalError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass
class Interruption:
    """The first signal that arrived, if any."""

    received: signal.Signals | None = None


@contextlib.contextmanager
def cancel_on_signals() -> Iterator[Interruption]:
    """Cancel the current task at the first signal. Later ones change nothing: stopping has its deadline."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    interruption = Interruption()

    def cancel(received: signal.Signals) -> None:
        if interruption.received is None and task is not None:
            interruption.received = received
            task.cancel()

    for one in _SIGNALS:
        loop.add_signal_handler(one, cancel, one)
    try:
        yield interruption
    finally:
        for one in _SIGNALS:
            loop.remove_signal_handler(one)


def run_command(work: Coroutine[None, None, int]) -> int:
    """Run a command of the terminal to its exit status.

    A `LocalError` becomes its sentence on standard error and its exit code; a signal becomes 128 + its
    number, after everything has been stopped.
    """

    async def interruptible() -> int:
        with cancel_on_signals() as interruption:
            try:
                return await work
            except asyncio.CancelledError:
                if interruption.received is None:
                    raise
                print(f"Stopped by {interruption.received.name}; nothing is left running.", file=sys.stderr)
                return 128 + interruption.received

    try:
        return asyncio.run(interruptible())
    except LocalError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
