"""Real parts for the tests: one Kafka, one Triton and one MQTT broker a worker, on free ports.

`make test` runs two workers beside each other (pytest-xdist). A file stays in one of them, so that what a
module has started is started once. Whole loops, which use a machine on their own, go one after the other in
the first worker, and the other does everything else meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from twinloop.local.keys import certs as local_certs
from twinloop.local.stack import Stack

LOOPS = ("tests/fault/", "tests/e2e/", "tests/observability/")
"""Where tests play a whole loop, a dozen processes each, and judge its times. The heaviest first: hundreds
of frames a second, beside which the other worker had better begin with what starts nothing."""

ORDER = (*LOOPS, "libs/", "services/", "deploy/", "tests/integration/")
"""And what takes seconds at last, for whichever worker is free."""


def _plays_loop(nodeid: str) -> bool:
    return nodeid.startswith(LOOPS)


def _place(item: pytest.Item) -> int:
    return next((n for n, folder in enumerate(ORDER) if item.nodeid.startswith(folder)), len(ORDER))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """What goes to one worker: see above. (`--dist loadgroup` ignores marks under pytest 9.2.)"""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped
        def _split_scope(self, nodeid: str) -> str:
            return "loops" if _plays_loop(nodeid) else nodeid.split("::", 1)[0]

    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The half million objects of thousands of tests stay to the end: no collector need look through them,
    neither while they are made nor at each table that Faust closes."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Beside each other: the longest first, which are the loops, in their order."""
    if hasattr(config, "workerinput"):
        items.sort(key=_place)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka, Triton and MQTT, started once and stopped at the end.

    Shared by all tests of a worker: a test that kills or stops a part starts a stack of its own.
    """
    stack = Stack(tmp_path_factory.mktemp("stack"))
    with asyncio.Runner() as runner:
        runner.run(stack.__aenter__())
        try:
            yield stack
        finally:
            runner.run(stack.__aexit__(None, None, None))


@pytest.fixture
def kafka(stack: Stack) -> str:
    """`host:port` of the session's Kafka. Topics are not made: use `topic_prefix` and make them."""
    return stack.endpoints.kafka


@pytest.fixture
def triton(stack: Stack) -> str:
    """`host:port` of the session's Triton (gRPC). Its models lie in `stack.endpoints.model_repository`."""
    return stack.endpoints.triton


@pytest.fixture
def mqtt(stack: Stack) -> str:
    """`host:port` of the session's MQTT broker."""
    return stack.endpoints.mqtt


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys, certificates and people, as `python -m twinloop.local.keys.certs` makes it."""
    folder = tmp_path_factory.mktemp("certs")
    local_certs.make(folder, datetime.now(UTC))
    return folder


@pytest.fixture
def topic_prefix() -> str:
    """A prefix of its own for each test, so that tests share a cluster and no topics."""
    return f"t{uuid.uuid4().hex[:10]}."
