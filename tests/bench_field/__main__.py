"""`python -m bench_field`: play every scene with many seeds; `--record` writes the figures into docs/."""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench_field.measure import measure
from bench_field.report import record, table_of_figures
from bench_field.scenes import SCENES

DOCS = Path(__file__).parents[2] / "docs"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench_field", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--scenes", nargs="*", choices=SCENES, default=list(SCENES))
    parser.add_argument("--record", action="store_true", help="write docs/slow-loop.*, of these scenes")
    given = parser.parse_args()
    rounds = [(scene, seed) for scene in given.scenes for seed in range(given.seeds)]
    found: dict[str, list[object]] = {scene: [] for scene in given.scenes}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for at, ((scene, _), one) in enumerate(
            zip(rounds, pool.map(measure, *zip(*rounds, strict=True)), strict=True)
        ):
            found[scene].append(one)
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{at + 1} of {len(rounds)}")
    figures = {"seeds": given.seeds, "scenes": found}
    sys.stdout.write(table_of_figures(json.loads(json.dumps(figures))))
    if given.record:
        record(json.loads(json.dumps(figures)), DOCS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
