"""Waiting until something is so."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
Problem = str | Callable[[], str]

TIMEOUT_S = 40.0


class Unmet(AssertionError):
    """Raised when something does not become, or is not, what was promised."""


async def until(
    holds: Callable[[], T | Awaitable[T]],
    timeout_s: float = TIMEOUT_S,
    problem: Problem = "it did not come in time",
) -> T:
    """What `holds`, called in a thread, says once that is true. Raises `Unmet` with the problem."""
    end = time.monotonic() + timeout_s
    while True:
        answer = await asyncio.to_thread(holds)
        found: T = await answer if inspect.isawaitable(answer) else answer
        if found:
            return found
        if time.monotonic() > end:
            raise Unmet(_told(problem))
        await asyncio.sleep(0.05)


def wait(holds: Callable[[], object], timeout_s: float = TIMEOUT_S, problem: Problem = "not in time") -> None:
    """The same where no loop runs."""
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            raise Unmet(_told(problem))
        time.sleep(0.1)


def _told(problem: Problem) -> str:
    return problem if isinstance(problem, str) else problem()
