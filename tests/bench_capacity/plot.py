"""docs/capacity.svg: cores measured beside the model's, point by point. Runs in the environment `bench`.

plot.py <capacity.json> <recorded.json> <plot.svg>
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

SHOWN = ("ingest", "detector", "historian", "kafka", "triton", "twin")


def main() -> None:
    run, recorded = (json.loads(Path(one).read_text()) for one in sys.argv[1:3])
    figure, axes = plt.subplots(figsize=(6.4, 5), layout="constrained")
    colours = ("#1f6f8b", "#c8553d", "#588157", "#8a98a3", "#e09f3e", "#7b5ea7")
    for name, colour in zip(SHOWN, colours, strict=True):
        by = recorded["cpu"][name]["by"]
        for held in (False, True):
            pairs = []
            for one in run["points"]:
                if one["held_out"] != held or one["kind"] == "idle":
                    continue
                drivers = dict(one["drivers"])
                if name == "ingest" and one["kind"] in ("kafka", "drain"):
                    drivers |= {"frames": 0.0, "sample_bytes": 0.0}
                rate = drivers["frames"] / one["seconds"]
                most = 0.0 if one["kind"] == "drain" else 20.0  # as the calculator counts rounds
                drivers["rounds"] = one["seconds"] * rate * most / (rate + most) if rate else 0.0
                model = sum(cost["value"] * drivers.get(driver, 0.0) for driver, cost in by.items())
                pairs.append((one["cpu_s"][name] / one["seconds"], model / one["seconds"]))
            x, y = zip(*pairs, strict=True) if pairs else ((), ())
            axes.scatter(
                x,
                y,
                color=colour if not held else "none",
                edgecolor=colour,
                label=name if not held else None,
                s=28,
            )
    low, high = 0.005, 2.0
    axes.plot([low, high], [low, high], color="#999999", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.set_xlabel("cores, measured (rings: held out of the fit)")
    axes.set_ylabel("cores, by the model")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    mpl.rcParams["svg.hashsalt"] = "twinloop"
    figure.savefig(sys.argv[3], metadata={"Date": None})


if __name__ == "__main__":
    main()
