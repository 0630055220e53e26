"""docs/benchmarks.md's tables and plot, from the figures of a run. Runs in the environment `bench`.

    report.py <figures.json> <page.md> <plot.svg>

The tables stand in the page between `<!-- figures -->` and `<!-- end -->`; the rest of it is written by hand.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

NAMES = {
    "twinloop": "Twinloop, exactly once",
    "expert": "expert's loop, at least once",
    "bytewax_flow": "Bytewax",
    "faust_batch": "Faust, `take_events(512)`",
    "faust_event": "Faust, an inference an event",
    "quix": "Quix Streams",
    "consume": "limit: aiokafka reads, nothing else",
    "inference": "limit: Triton alone",
}
WINDOW_BYTES = 64 * 8 * 4
BEGIN, END = "<!-- figures -->\n", "<!-- end -->\n"


def main() -> None:
    figures, page, plot = map(Path, sys.argv[1:])
    found = json.loads(figures.read_text())
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + BEGIN + tables(found) + END + after)
    draw(found, plot)


def tables(found: dict[str, Any]) -> str:
    """Every contestant, and every target."""
    lines = [
        (
            f"{found['machine']}; {found['frames']:,} frames, {found['assets']:,} assets, median of"
            f" {len(found['contestants']['twinloop'])} runs in turn (lowest to highest)."
        ),
        "",
        "| | windows/s | Twinloop is | CPU µs a window: itself | Triton | Kafka | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, runs in found["contestants"].items():
        rates = [one["per_s"] for one in runs]
        cells = [
            NAMES[name],
            f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
            "" if name == "twinloop" else f"{ratio(found, name):.2f} ×",
            *(f"{median(runs, what):.1f}" for what in ("own_us", "triton_us", "kafka_us")),
            f"{median(runs, 'rss_mb'):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "A microsecond a window is a CPU second per million frames: a frame completes one window.",
        "",
    ]
    lines += ["| target | measured | |", "|---|---|---|"]
    lines += [
        f"| {what} | {measured} | {'met' if met else '**missed**'} |"
        for what, measured, met in targets(found)
    ]
    lines += ["", "| assets | windows/s | CPU µs a window | MB |", "|---|---|---|---|"]
    for assets, one in found["by_assets"].items():
        lines.append(f"| {int(assets):,} | {one['per_s']:,.0f} | {one['own_us']:.1f} | {one['rss_mb']:.0f} |")
    return "\n".join(lines) + "\n"


def targets(found: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """What was aimed at, what was measured, and whether that is enough."""
    rows = []
    for name, least in (
        ("expert", 1.5),
        ("bytewax_flow", 1.5),
        ("faust_batch", 10.0),
        ("faust_event", 150.0),
    ):
        by = ratio(found, name)
        rows.append((f"≥ {least:g} × {NAMES[name]}", f"{by:.2f} ×", by >= least))
    late = found["latency"]
    rows.append(
        (
            f"p99 frame → committed anomaly < 100 ms at half of the maximum rate ({late['rate']:,.0f}/s)",
            f"p50 {late['p50_ms']:.0f} ms, p99 {late['p99_ms']:.0f} ms",
            late["p99_ms"] < 100,
        )
    )
    by_assets = {int(assets): one for assets, one in found["by_assets"].items()}
    few, many = by_assets[min(by_assets)], by_assets[max(by_assets)]
    costs = [one["own_us"] for one in by_assets.values()]
    spread = max(costs) / min(costs) - 1
    rows.append(
        ("cost of a frame flat within 25 % from 10 to 100,000 assets", f"{spread:.0%}", spread <= 0.25)
    )
    more = (many["rss_mb"] - few["rss_mb"]) * 2**20 / (max(by_assets) - min(by_assets))
    rows.append(
        (
            f"memory ≤ window bytes ({WINDOW_BYTES}) + 1 KB an asset",
            f"{more:,.0f} bytes an asset",
            more <= WINDOW_BYTES + 1024,
        )
    )
    first = median(found["contestants"]["twinloop"], "first_s")
    rows.append(("start to first verdict < 5 s", f"{first:.1f} s", first < 5))
    return rows


def ratio(found: dict[str, Any], name: str) -> float:
    """Of Twinloop's rate to another's: the median of the ratios of neighbouring runs."""
    pairs = zip(found["contestants"]["twinloop"], found["contestants"][name], strict=True)
    return statistics.median(ours["per_s"] / theirs["per_s"] for ours, theirs in pairs)


def median(runs: list[dict[str, float]], what: str) -> float:
    """Of one figure over the runs."""
    return statistics.median(one[what] for one in runs)


def draw(found: dict[str, Any], plot: Path) -> None:
    """Rates as bars with their range, on a logarithmic axis."""
    names = list(found["contestants"])[::-1]
    rates = {name: [one["per_s"] for one in found["contestants"][name]] for name in names}
    middle = [statistics.median(rates[name]) for name in names]
    low = [m - min(rates[name]) for m, name in zip(middle, names, strict=True)]
    high = [max(rates[name]) - m for m, name in zip(middle, names, strict=True)]
    colours = [
        "#1f6f8b" if name == "twinloop" else "#d0d5d9" if "limit" in NAMES[name] else "#8a98a3"
        for name in names
    ]
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    axes.barh(
        [NAMES[name].replace("`", "") for name in names], middle, xerr=[low, high], color=colours, capsize=3
    )
    axes.set_xscale("log")
    axes.set_xlim(min(middle) / 2, max(middle) * 6)
    for at, value in enumerate(middle):
        axes.annotate(
            f"{value:,.0f}", (max(rates[names[at]]), at), (6, -3), textcoords="offset points", fontsize=9
        )
    axes.set_xlabel("windows a second (logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    mpl.rcParams["svg.hashsalt"] = "twinloop"
    figure.savefig(plot, metadata={"Date": None})


if __name__ == "__main__":
    main()
