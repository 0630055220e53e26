"""`python -m bench_capacity`: measure what a load costs each program; `--record` writes the figures, too."""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from bench.__main__ import machine, say

from bench_capacity.conclude import Held, Run, conclude
from bench_capacity.points import FULL, SHORT
from bench_capacity.run import build, play, remember
from bench_capacity.scene import scene
from twinloop.cli.capacity.costs import Provenance, Recorded
from twinloop.local.places import REPOSITORY, find_places

MODEL = "a dense layer of tanh over the window, 16 wide"
PACKAGED = REPOSITORY / "services/cli/twinloop/cli/capacity/recorded.json"
FIGURES = REPOSITORY / "docs/capacity.json"
BUSY = 0.5
"""Processes that want to run, a core, before anything is started here: above, the machine is not idle."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench_capacity", description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer and shorter loads: to see it work")
    parser.add_argument(
        "--record", action="store_true", help="write docs/capacity.*, and package the figures"
    )
    parser.add_argument("--again", action="store_true", help="measure nothing: conclude what is in docs anew")
    parser.add_argument("--keep", type=Path, help="write what was measured here, too, before it is concluded")
    given = parser.parse_args()
    if given.again:
        run = msgspec.json.decode(FIGURES.read_bytes(), type=Run)
    else:
        with tempfile.TemporaryDirectory(prefix="twinloop-capacity-") as folder:
            run = asyncio.run(measure(given.short, Path(folder)))
    if given.keep:
        given.keep.write_bytes(msgspec.json.encode(run))
    recorded, held = conclude(run)
    for one in held:
        both = f"{one.measured:10.3g} measured, {one.model:10.3g} by the model"
        say(f"held out: {one.point:8} {one.program:18} {both}")
    if given.record or given.again:
        record(run, recorded, held)
    return 0


async def measure(short: bool, folder: Path) -> Run:
    """All of it, on one stack."""
    where = Provenance(
        machine=machine(),
        date=datetime.now(UTC).date().isoformat(),
        command="make bench-capacity RECORD=1" + (" SHORT=1" if short else ""),
        version="0.1.0",
        model=MODEL,
        beside_other_work=os.getloadavg()[0] > BUSY * (os.cpu_count() or 1),
        short=short,
    )
    async with scene(folder, say) as there:
        points = await there.stack.guard(play(there, SHORT if short else FULL, say))
        say("assets that were never heard of, and vehicles that were built")
        remembered = await there.stack.guard(remember(there, short))
        built = await there.stack.guard(build(there, short))
    return Run(where, points, remembered, built)


def record(run: Run, recorded: Recorded, held: list[Held]) -> None:
    """Bring the documentation and the calculator up to these figures."""
    FIGURES.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")
    PACKAGED.write_bytes(msgspec.json.format(msgspec.json.encode(recorded), indent=1) + b"\n")
    from bench_capacity.report import update

    update(run, recorded, held)
    plot = Path(__file__).with_name("plot.py")
    docs = FIGURES.parent
    subprocess.run([find_places().bench.python, plot, FIGURES, PACKAGED, docs / "capacity.svg"], check=True)


if __name__ == "__main__":
    sys.exit(main())
