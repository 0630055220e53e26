"""What `helm test` runs, on a stack of processes: it commissions once, plays, and judges; and looks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from twinloop.local.services import SERVICES
from twinloop.local.stack import Stack

MODULE = "twinloop.local.chart_check"


@pytest.mark.scenario
@pytest.mark.timeout(600)
async def test_a_release_is_looked_at_and_its_loop_closes_again_and_again(tmp_path: Path) -> None:
    async with Stack(tmp_path / "state", services=SERVICES, env=os.environ) as stack:
        environ = {**os.environ, **stack.endpoints.environment(), "TWINLOOP_STATE": str(stack.state.root)}

        def check(*arguments: str) -> tuple[int, str]:
            done = subprocess.run(
                [sys.executable, "-m", MODULE, *arguments],
                env=environ,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            return done.returncode, done.stdout + done.stderr

        status, said = check("--look")
        assert (status, "topics are there" in said) == (0, True), said
        status, said = check("--loop", "--within", "280")
        assert "commissioning" in said, said
        assert (status, "VERDICT: loop closed" in said) == (0, True), said
        status, said = check("--loop", "--within", "280")
        assert "commissioning" not in said, said
        assert (status, "VERDICT: loop closed" in said) == (0, True), said

        await stack.stop("line")
        environ["TWINLOOP_LINE_URL"] = stack.endpoints.health["line"]
        status, said = check("--look", "--within", "20")
        assert status == 1, said
        assert "line: does not answer" in said
