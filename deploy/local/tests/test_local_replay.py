"""`make replay`: what it trains unless it is told otherwise, and what that needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from twinloop.local.replay import parse

ROOT = Path(__file__).parents[3]
TRAINING = "bootstrap.py train"


def test_the_best_configuration_is_the_default() -> None:
    assert parse(["--data", "valve1"]).architecture == "drift-filter"
    assert parse(["--data", "valve1", "--architecture", "pca"]).architecture == "pca"


@pytest.mark.parametrize(
    ("said", "trains", "handed_on"),
    [
        ((), True, ""),
        (("ARCHITECTURE=novelty",), True, " --architecture novelty"),
        (("ARCHITECTURE=pca",), False, " --architecture pca"),
    ],
)
def test_torch_is_installed_where_something_is_trained(
    said: tuple[str, ...], trains: bool, handed_on: str
) -> None:
    words = ["make", "--dry-run", "--no-print-directory", "replay", "DATA=valve1", *said]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (TRAINING in told) is trains
    assert f'twinloop.local.replay --data "valve1"{handed_on}' in told
