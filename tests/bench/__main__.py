"""`python -m bench`: measure Twinloop beside others; `--record` writes the figures into docs/, too."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import psutil

from bench import latency
from bench.measure import Contestant, Result, Twinloop, run
from bench.workload import announce, fill, rewind, serve
from twinloop.local.places import find_places
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.provision import provision

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
ASSETS = (10, 1000, 100_000)
MEMORY_RECORDS = 50_000
"""Of 100,000 assets in turn, a window spans 33,000 records of its partition."""
PREFIX = "bench."


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--frames", type=int, default=600_000)
    parser.add_argument("--assets", type=int, default=1000)
    parser.add_argument("--no-more", action="store_true", help="throughput only")
    parser.add_argument("--record", action="store_true", help="write docs/benchmarks.*; not with --only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinloop-bench-") as folder:
        found = asyncio.run(measure(given, Path(folder)))
    if given.record:
        record(found)
    return 0


def record(found: dict[str, object]) -> None:
    """Bring the documentation up to these figures."""
    places = find_places()
    docs = places.repository / "docs"
    figures = docs / "benchmarks.json"
    figures.write_text(json.dumps(found, indent=1) + "\n")
    report = Path(__file__).with_name("report.py")
    page, plot = docs / "benchmarks.md", docs / "benchmarks.svg"
    subprocess.run([places.bench.python, report, figures, page, plot], check=True)


def machine() -> str:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
    memory = psutil.virtual_memory().total / 2**30
    return f"{model}, {psutil.cpu_count()} cores, {memory:.0f} GiB"


async def measure(given: argparse.Namespace, folder: Path) -> dict[str, object]:
    """All of it, on one Kafka and one Triton."""
    async with Stack(folder / "stack", parts=("kafka", "triton")) as stack:
        await serve(stack)
        by_name = await throughput(stack, given, folder)
        found: dict[str, object] = {
            "machine": machine(),
            "frames": given.frames,
            "assets": given.assets,
            "contestants": {name: [asdict(one) for one in those] for name, those in by_name.items()},
        }
        if given.no_more:
            return found
        best = statistics.median(one.per_s for one in by_name["twinloop"])
        waited = await latency.measure(stack, folder, best / 2, given.assets)
        say(
            f"latency at {waited.rate:,.0f} frames/s: p50 {waited.p50_ms:.0f} ms, p99 {waited.p99_ms:.0f} ms"
            f" of {waited.count} anomalies"
        )
        return {**found, "latency": asdict(waited), "by_assets": await by_assets(stack, given, folder)}


async def throughput(stack: Stack, given: argparse.Namespace, folder: Path) -> dict[str, list[Result]]:
    """Every contestant in turn, again and again, on the same topic."""
    found: dict[str, list[Result]] = {name: [] for name in given.only}
    await filled(stack, PREFIX, given.frames, given.assets)
    await run(Contestant("consume"), stack, PREFIX, "warm-up", folder, given.frames)  # Kafka's compiler
    for repetition in range(given.repetitions):
        for name in given.only:
            one = CONTESTANTS[name]
            total = given.frames - 3 * given.assets
            result = await run(one, stack, PREFIX, f"{name}-{repetition}", folder, total)
            found[name].append(result)
            if isinstance(one, Twinloop):
                await rewind(stack.endpoints.kafka, PREFIX)
            say(told(name, result))
    for name, those in found.items():
        rates = [one.per_s for one in those]
        say(f"{name:14} median {statistics.median(rates):9,.0f} ({min(rates):,.0f} to {max(rates):,.0f})")
    return found


async def by_assets(stack: Stack, given: argparse.Namespace, folder: Path) -> dict[int, object]:
    """Twinloop alone, with few and with many assets: each on a topic of its own."""
    found: dict[int, object] = {}
    for assets in ASSETS:
        prefix = f"assets{assets}."
        frames = max(given.frames, 6 * assets)
        await filled(stack, prefix, frames, assets)
        one = Twinloop(TWINLOOP_DETECTOR_MEMORY_RECORDS=str(MEMORY_RECORDS))
        result = await run(one, stack, prefix, prefix, folder, frames - 3 * assets)
        found[assets] = asdict(result)
        say(told(f"{assets} assets", result))
    return found


async def filled(stack: Stack, prefix: str, frames: int, assets: int) -> None:
    """Topics with telemetry, and a route to the model."""
    kafka = stack.endpoints.kafka
    await provision(kafka, prefix)
    await announce(kafka, prefix)
    await fill(kafka, prefix, frames, assets)


def told(name: str, result: Result) -> str:
    """A result as a line."""
    return (
        f"{name:14} {result.per_s:9,.0f} windows/s; CPU us a window: own {result.own_us:.1f},"
        f" triton {result.triton_us:.1f}, kafka {result.kafka_us:.1f};"
        f" first after {result.first_s:.1f} s, {result.rss_mb:.0f} MB"
    )


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
