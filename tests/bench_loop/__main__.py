"""`python -m bench_loop`: measure how good the loop is; `--record` writes the figures into docs/, too."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import psutil
from rich.console import Console

from bench_loop import report
from bench_loop.bench import Figures, measured
from bench_loop.confusion import merged
from bench_loop.twinloop_loop import LATENCY_PARTS

DOCS = Path(__file__).parents[2] / "docs"
_WIDTH = 190


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench_loop", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many (%(default)s); 5 for a quick look")
    parser.add_argument(
        "--latency-parts", type=int, default=LATENCY_PARTS, help="from a part to a change (%(default)s)"
    )
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--record", action="store_true", help="write docs/loop-quality.*")
    given = parser.parse_args()
    if given.seeds < 1:
        parser.error("at least one seed")
    began = time.monotonic()
    figures = summed(given.seeds, given.latency_parts)
    seconds = time.monotonic() - began
    Console(width=_WIDTH, highlight=False).print(report.console(figures))
    found = {
        "machine": machine(),
        "seeds": given.seeds,
        "latency_parts": given.latency_parts,
        "seconds": round(seconds),
        **report.as_json(figures),
    }
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if given.json:
        given.json.write_text(text)
    if given.record:
        (DOCS / "loop-quality.json").write_text(text)
        page = DOCS / "loop-quality.md"
        page.write_text(report.spliced(page.read_text(), report.page(figures, machine(), seconds)))
    return 0


def summed(seeds: int, latency_parts: int) -> Figures:
    """All seeds; says how far it is."""
    whole: Figures | None = None
    for done, one in enumerate(measured(seeds, latency_parts), 1):
        if whole is None:
            whole = one
        else:
            for case, by in one.tallies.items():
                for name, tally in by.items():
                    whole.tallies[case][name] += tally
            whole.by_truth = merged([whole.by_truth, one.by_truth])
            whole.by_case = merged([whole.by_case, one.by_case])
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done} of {seeds} seeds")
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    assert whole is not None
    return whole


def machine() -> str:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return f"{next(found, platform.machine())}, {psutil.cpu_count()} cores"


if __name__ == "__main__":
    sys.exit(main())
