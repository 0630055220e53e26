"""One stack for the runbooks and for the alerts: everything, with Prometheus and rules in shorter times."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from observability.kube_state import KubeState
from observability.shortened import write_shortened
from twinloop.local.plan import PARTS
from twinloop.local.services import SERVICES
from twinloop.local.stack import Stack

ROOT = Path(__file__).parents[2]
AUTHORITY = ("authority = 350.0 ", "authority = 1.0 ")
"""In the controller's file: made small, so that a drift exhausts it soon."""


@dataclass
class Scene:
    """A running stack in a checkout of its own, and the loop that it lives in."""

    stack: Stack
    checkout: Path
    kube_state: KubeState
    runner: asyncio.Runner


@pytest.fixture(scope="package")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """As after `git clone` and `make up PROMETHEUS=1`."""
    subprocess.run([sys.executable, "deploy/local/bootstrap.py", "prometheus"], cwd=ROOT, check=True)
    checkout = tmp_path_factory.mktemp("observed") / "twinloop"
    checkout.mkdir()
    for one in [*ROOT.iterdir(), ROOT / ".venv"]:
        link = checkout / one.name
        if one.name not in (".git", ".twinloop") and not link.is_symlink():
            link.symlink_to(one)
    rules = checkout / "rules"
    write_shortened(rules)
    policy = (ROOT / "deploy/local/config/controller.toml").read_text()
    assert AUTHORITY[0] in policy
    (checkout / "controller.toml").write_text(policy.replace(*AUTHORITY))
    own = {
        "controller": {"TWINLOOP_CONTROLLER_ASSETS": str(checkout / "controller.toml")},
        "historian": {"TWINLOOP_HISTORIAN_RECONCILE_PATIENCE_S": "20"},
        "line": {"TWINLOOP_LINE_CALL_TIMEOUT_S": "5"},
        "detector-vehicles": {"TWINLOOP_DETECTOR_SESSION_TIMEOUT_S": "6"},
    }
    services = [one.with_settings(**own.get(one.name, {})) for one in SERVICES]
    with KubeState() as kube_state, asyncio.Runner() as runner:
        stack = Stack(
            checkout / ".twinloop",
            parts=(*PARTS, "prometheus"),
            services=services,
            env={
                "TWINLOOP_PROMETHEUS_RULES": str(rules),
                "TWINLOOP_PROMETHEUS_INTERVAL_S": "1",
                "TWINLOOP_PROMETHEUS_TARGETS": f"kube-state={kube_state.address}",
            },
        )
        runner.run(stack.__aenter__())
        try:
            yield Scene(stack, checkout, kube_state, runner)
        finally:
            runner.run(stack.__aexit__(None, None, None))
