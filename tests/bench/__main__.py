"""`python -m bench`: measure, and write docs/benchmarks.md. `--only twinloop expert` for some of them."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from bench.measure import Contestant, Result, Twinloop, run
from bench.workload import announce, fill, rewind, serve
from twinloop.local.stack import Stack
from twinloop.runtime.provision import provision

CONTESTANTS: dict[str, Contestant | Twinloop] = {
    one.name: one
    for one in (
        Twinloop(),
        Contestant("expert"),
        Contestant("bytewax_flow"),
        Contestant("faust_batch", 12),
        Contestant("faust_event", 8),
        Contestant("quix", 8),
        Contestant("consume"),
        Contestant("inference", 6, endless=True),
    )
}
PREFIX = "bench."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--frames", type=int, default=600_000)
    parser.add_argument("--assets", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinloop-bench-") as folder:
        asyncio.run(throughput(given, Path(folder)))
    return 0


async def throughput(given: argparse.Namespace, folder: Path) -> dict[str, list[Result]]:
    """Every contestant in turn, again and again."""
    found: dict[str, list[Result]] = {name: [] for name in given.only}
    async with Stack(folder / "stack", parts=("kafka", "triton")) as stack:
        await provision(stack.endpoints.kafka, PREFIX)
        await serve(stack)
        await announce(stack.endpoints.kafka, PREFIX)
        await fill(stack.endpoints.kafka, PREFIX, given.frames, given.assets)
        total = given.frames - 3 * given.assets
        for repetition in range(given.repetitions):
            for name in given.only:
                one = CONTESTANTS[name]
                group = f"{name}-{repetition}"
                result = await run(one, stack, PREFIX, group, folder, total)
                found[name].append(result)
                if isinstance(one, Twinloop):
                    await rewind(stack.endpoints.kafka, PREFIX)
                sys.stdout.write(
                    f"{name:14} {result.per_s:9,.0f} windows/s; CPU us a window: own {result.own_us:.1f},"
                    f" triton {result.triton_us:.1f}, kafka {result.kafka_us:.1f};"
                    f" first after {result.first_s:.1f} s, {result.rss_mb:.0f} MB\n"
                )
                sys.stdout.flush()
    return found


if __name__ == "__main__":
    sys.exit(main())
