"""The table of faults in short, on every change; `make fault` plays it in full. The guarantee is broken
on purpose too: the reconciliation must find that."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fault.model_rows import MODEL_ROWS
from fault.rows import ROWS
from fault.scene import Size, loaded, scene

SEED = 20
SHORT = Size(frames=10_000, rate=500, share=0.15, idle=False)
SHORTER = Size(frames=10_000, rate=250, share=0.05, idle=False)
"""Of what has a hundred swaps. How many frames there are is the work of what judges the run, too."""
FEW = ("kill", "sigterm", "kafka", "triton", "poison", "disorder", "flood")


@pytest.mark.parametrize("name", FEW)
async def test_row(name: str, tmp_path: Path) -> None:
    assert "exact" in await ROWS[name](tmp_path, SEED, SHORT)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MODEL_ROWS)
async def test_row_of_models(name: str, tmp_path: Path) -> None:
    assert "exact" in await MODEL_ROWS[name](tmp_path, SEED, SHORTER)


async def test_without_the_transaction_a_kill_is_found_to_double_verdicts(tmp_path: Path) -> None:
    async with scene(tmp_path, SEED, SHORT) as run:
        async with loaded(run):
            one = run.detector(module="fault.broken", PYTHONPATH=str(Path(__file__).parents[1]))
            await run.flowing()
            for _ in range(3):
                await run.some_time(0.5, 1.5)
                one.kill()
                at = time.time()
                one.start()
                await run.back(at)
        await run.settled()
        found = await run.reconcile(await run.expected())
    assert not found.exact
    verdicts = found.differences[0]
    assert verdicts.double > 0
    assert verdicts.unexpected == 0
