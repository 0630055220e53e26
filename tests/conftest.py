"""Real parts for the tests: one Kafka, one Triton and one MQTT broker a session, on free ports."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from twinloop.local import certs as local_certs
from twinloop.local.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka, Triton and MQTT, started once and stopped at the end.

    Shared by the whole session: a test that kills or stops a part starts a stack of its own.
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
    """A folder of keys, certificates and people, as `python -m twinloop.local.certs` makes it."""
    folder = tmp_path_factory.mktemp("certs")
    local_certs.make(folder, datetime.now(UTC))
    return folder


@pytest.fixture
def topic_prefix() -> str:
    """A prefix of its own for each test, so that tests share a cluster and no topics."""
    return f"t{uuid.uuid4().hex[:10]}."
