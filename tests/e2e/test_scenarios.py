"""Every scenario of the demo, played on the whole loop, as a user plays it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(420)]


def play(scenario: str, state: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twinloop.local.demo", "--scenario", scenario, "--state", str(state), *more],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.mark.parametrize("scenario", ["defocus", "gap", "healthy", "plc-refuses"])
def test_it_ends_as_it_must(scenario: str, tmp_path: Path) -> None:
    played = play(scenario, tmp_path / "state")
    assert played.returncode == 0, played.stdout + played.stderr
    assert "VERDICT: loop closed" in played.stdout


def test_vehicles_in_the_field_change_the_line_that_built_them(tmp_path: Path) -> None:
    """The slow loop with a fifth of the vehicles: enough to name the station and its spell."""
    played = play("field", tmp_path / "state", "--vehicles", "400")
    assert played.returncode == 0, played.stdout + played.stderr
    assert "VERDICT: loop closed" in played.stdout
    assert "person:" in played.stdout


def test_without_the_line_the_verdict_fails(tmp_path: Path) -> None:
    """The proof that the verdict can fail."""
    played = play("line-off", tmp_path / "state")
    assert played.returncode == 1, played.stdout + played.stderr
    assert "VERDICT: loop NOT closed: " in played.stdout
    assert "VERDICT: loop closed" not in played.stdout
