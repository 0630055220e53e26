"""The matrix of kills in short, on every change; `python -m fault.matrix` walks all of it, ten times each."""

from __future__ import annotations

from pathlib import Path

import pytest

from fault.matrix import walk
from twinloop.contracts.changes import State

# The state's writer, and the service that writes the next one.
CELLS = (
    ("controller", State.PROPOSED),
    ("twin", State.SIMULATED),
    ("twin", State.APPROVED),
    ("line", State.APPROVED),
    ("line", State.ISSUED),
    ("controller", State.APPLIED),
)


@pytest.mark.timeout(600)
async def test_no_kill_loses_doubles_or_falsifies_a_change(tmp_path: Path) -> None:
    async with walk(tmp_path, lambda _: None) as one:
        for victim, state in CELLS:
            await one.cell(victim, state)
        assert "audit intact" in await one.reconcile()
