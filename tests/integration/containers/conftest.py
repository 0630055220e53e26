"""Real containers of our images: `make test-containers`. Needs a Docker engine, or root and docker.io.

Not collected by other targets: the engine and the images take minutes to come by.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

WANTED = "TWINLOOP_CONTAINERS" in os.environ
collect_ignore_glob = [] if WANTED else ["*"]

if WANTED:
    # No helper container that cleans up: no registry has its image for us. Published ports are here.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")
    from support.images import LOOP, image
    from support.yard import Yard, start_engine, yard


@pytest.fixture(scope="session", autouse=True)
def engine() -> None:
    """An engine, with our images. Fails, and does not skip, where there is none."""
    import docker

    start_engine()
    client = docker.from_env()
    try:
        have = {tag for one in client.images.list() for tag in one.tags}
    finally:
        client.close()
    missing = {image(one) for one in LOOP} - have
    assert not missing, f"no such image: {', '.join(sorted(missing))}; build them by `make images`"


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture
def ground(engine: None, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Yard]:
    """A network for one test; the logs of what ran on it when the test fails."""
    with yard(tmp_path) as one:
        yield one
        if request.node.stash.get(FAILED, False):
            sys.stdout.write(one.logs())
