"""`make replay`: recorded files through Kafka, the detector and Triton, and the score of what came out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twinloop.trainer.recipes import SKAB

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

ROWS, FAULT = 600, slice(500, 560)


def write_recording(folder: Path, name: str, seed: int) -> None:
    """A file of the published form: quiet but for a fault of sixty rows."""
    noise = np.random.default_rng(seed).normal(10.0, 1.0, (ROWS, len(SKAB.spec.signals)))
    noise[FAULT] += 6.0
    lines = ["datetime;" + ";".join(SKAB.spec.signals) + ";anomaly;changepoint"]
    for n, row in enumerate(noise):
        label = float(FAULT.start <= n < FAULT.stop)
        at = f"2020-03-09 {10 + n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}"
        lines.append(";".join([at, *(f"{value:.5f}" for value in row), f"{label}", "0.0"]))
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")


def replay(data: Path, state: Path) -> subprocess.CompletedProcess[str]:
    words = ("--data", str(data), "--state", str(state), "--architecture", "pca")  # no torch here
    return subprocess.run(
        [sys.executable, "-m", "twinloop.local.replay", *words],
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_every_row_is_sent_judged_and_scored(tmp_path: Path) -> None:
    for n in range(2):
        write_recording(tmp_path / "valve", f"{n}.csv", n)
    done = replay(tmp_path / "valve", tmp_path / "state")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 models staged and promoted, each for its file" in done.stdout
    assert f"{2 * ROWS} rows of 2 files acknowledged by Kafka" in done.stdout
    assert f"all {2 * ROWS} rows of 2 files accounted for" in done.stdout
    total = re.search(r"all 2 files\s+│\s*([\d.]+) │\s*([\d.]+) │\s*([\d.]+) │\s*(\d+)/(\d+)", done.stdout)
    assert total is not None, done.stdout
    f1, far, mar = float(total[1]), float(total[2]), float(total[3])
    # Plain to see: found at once, and left again within a window's length.
    assert f1 > 0.8
    assert far < 20
    assert mar < 10
    assert total[4] == total[5] == "2"
    assert "control: every row anomalous" in done.stdout


def test_a_folder_without_recordings_is_one_sentence(tmp_path: Path) -> None:
    for data in (tmp_path / "nowhere", tmp_path):
        done = replay(data, tmp_path / "state")
        assert done.returncode == 2
        assert "make replay DATA" in done.stderr or "SKAB" in done.stderr
        assert "Traceback" not in done.stderr
