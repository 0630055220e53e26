"""`python -m eval`: train, export and judge recorded data; `--record` writes docs/detection.*."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from eval import data, plant, report, telemetry, vehicles, water
from eval.plots import Panel, plot
from eval.report import Board, Found
from twinloop.runtime.observability import logging
from twinloop.trainer.errors import BadRecording

T = TypeVar("T")

DOCS = Path(__file__).parents[2] / "docs"
WHAT = ("water", "telemetry", "plant", "vehicles")
ABLATIONS = "detection-ablations.json"
_WIDTH = 190


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval", description=__doc__)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"of {', '.join(WHAT)} (default: all)")
    parser.add_argument("--skab", type=Path, help="another folder of CSV files, instead of skab/valve1")
    parser.add_argument("--skab-pool", type=Path, help="learn from these files, not from its own others")
    parser.add_argument("--smap", type=Path, help="another folder of channels, instead of smap")
    parser.add_argument("--ablations", action="store_true", help="change one thing at a time, instead")
    parser.add_argument("--only", default="", help="changes whose name has this in it")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--record", action="store_true", help="write docs/detection.md, and its plots")
    given = parser.parse_args()
    if wrong := set(given.what) - set(WHAT):
        parser.error(f"{sorted(wrong)[0]!r} is none of {', '.join(WHAT)}")
    given.what = given.what or list(WHAT)
    return given


async def evaluate(given: argparse.Namespace) -> Found:
    """Everything that was asked for."""
    found = Found()
    if "water" in given.what:
        files = _files(given)
        pool = data.skab(given.skab_pool) if given.skab_pool else files
        healthy = [] if given.skab else data.healthy(data.root() / "skab" / "anomaly-free")
        found.water = await _timed("water", water.evaluate(files, healthy, pool))
    if "telemetry" in given.what:
        channels = _channels(given)
        found.telemetry = await _timed("telemetry", telemetry.evaluate(channels, channels))
    if "plant" in given.what:
        found.plant = await _timed("plant", plant.evaluate())
    if "vehicles" in given.what:
        found.vehicles = await _timed("vehicles", vehicles.evaluate())
    return found


async def ablate(given: argparse.Namespace) -> tuple[list[Board], dict[str, Any]]:
    """One thing changed at a time. What was recorded of other changes is kept, to be recorded again."""
    from eval import ablations

    def wanted(name: str) -> bool:
        return given.only in name

    known = DOCS / ABLATIONS
    plain = json.loads(known.read_text()) if given.record and known.exists() else {}
    if "water" in given.what:
        plain["water"] = plain.get("water", {}) | report.plain(ablations.water(_files(given), wanted))
    if "telemetry" in given.what:
        found = await ablations.telemetry(_channels(given), wanted)
        plain["telemetry"] = plain.get("telemetry", {}) | report.plain(found)
    return ablations.boards(plain), plain


def _files(given: argparse.Namespace) -> list[data.Labelled]:
    return data.skab(given.skab or data.root() / "skab" / "valve1")


def _channels(given: argparse.Namespace) -> list[data.Channel]:
    return data.channels(given.smap or data.root() / "smap")


async def _timed(what: str, work: Awaitable[T]) -> T:
    began = time.monotonic()
    done = await work
    _took(what, began)
    return done


def _took(what: str, began: float) -> None:
    sys.stderr.write(f"{what}: {time.monotonic() - began:.0f} s\n")


def record(found: Found) -> None:
    """Bring the page and its plots up to what was measured."""
    _splice("figures", "end", report.boards(found))
    if found.water is not None:
        those = found.water.drift["as recorded"]
        panels = tuple(
            Panel(
                f"{which}: file {one.file.name}, F1 {one.part.score.f1:.2f}",
                one.said.score,
                one.said.threshold,
                one.said.alarmed,
                one.file.anomalous,
                top=20.0,
            )
            for which, one in zip(("best", "worst"), water.best_and_worst(those), strict=True)
        )
        (DOCS / "detection-water.svg").write_text(plot(panels, "row of the file; the first 400 calibrate"))
    if found.telemetry is not None:
        panels = tuple(
            Panel(
                f"{which}: channel {one.channel.name}",
                one.said.score,
                one.said.threshold,
                one.said.alarmed,
                telemetry.labels(one.channel),
                top=4.0,
            )
            for which, one in zip(
                ("best", "worst"), telemetry.best_and_worst(found.telemetry.heard), strict=True
            )
        )
        (DOCS / "detection-telemetry.svg").write_text(plot(panels, "row of the test part"))


def _splice(begin: str, end: str, boards: Sequence[Board]) -> None:
    page = DOCS / "detection.md"
    page.write_text(report.spliced(page.read_text(), begin, end, report.markdown(boards)))


def main() -> int:
    given, began = parse(), time.monotonic()
    logging.configure("eval", "text", "ERROR")
    try:
        if given.ablations:
            boards, plain = asyncio.run(ablate(given))
        else:
            found = asyncio.run(evaluate(given))
            boards, plain = report.boards(found), report.as_json(found)
    except BadRecording as error:
        sys.stderr.write(f"eval: {error}\n")
        return 2
    Console(width=_WIDTH, highlight=False).print(report.console(boards))
    _took("all of it", began)
    text = json.dumps(plain, indent=1, ensure_ascii=False) + "\n"
    if given.json:
        given.json.write_text(text)
    if given.record:
        (DOCS / (ABLATIONS if given.ablations else "detection.json")).write_text(text)
        if given.ablations:
            _splice("ablations", "end of ablations", boards)
        else:
            record(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
