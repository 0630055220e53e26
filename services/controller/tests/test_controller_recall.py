"""Single parts of the reference plant, through the weld model to a diagnosis: how many are told right.

On seeds that the model was not fitted on. docs/loop-quality.md has the whole matrix, from many more.
"""

from __future__ import annotations

import pytest
from bench_loop.confusion import Matrix, matrix, recall

SEEDS = range(3)


@pytest.fixture(scope="module")
def found() -> Matrix:
    return matrix(SEEDS)


@pytest.mark.parametrize(
    ("truth", "least"),
    [
        ("healthy", 0.98),
        ("dirty window", 0.98),
        ("defocus", 0.90),
        ("gap", 0.98),
        ("local gap", 0.98),
        ("power error", 0.90),
    ],
)
def test_parts_of_a_fault_are_told_right(found: Matrix, truth: str, least: float) -> None:
    assert recall(found, truth) >= least


def test_no_healthy_part_and_no_gap_is_taken_for_what_a_setpoint_mends(found: Matrix) -> None:
    for truth in ("healthy", "gap", "local gap"):
        assert not found[truth]["dirty_window"]
        assert not found[truth]["defocus"]
