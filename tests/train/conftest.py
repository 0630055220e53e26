"""These need torch, which is only in the environment of training: `make test-train`."""

from __future__ import annotations

import importlib.util

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums are then in the same order on every machine."""
    import torch

    torch.set_num_threads(1)
