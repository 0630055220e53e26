"""Renders charts in a process of its own: `python -m helm.renderer` reads requests, writes answers, in JSON.

The library that renders is Go's, which would put its signal handlers into the process of all tests.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

CHART = Path(__file__).resolve().parents[2] / "helm" / "twinloop"


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """`manifests` by template, or `refused` with what Helm said. With `lint`: `messages`."""
    from helm_python import Chart, HelmError
    from helm_python.chart import lint

    where = request.get("chart", str(CHART))
    try:
        if request.get("lint"):
            return {"messages": lint(where, request["values"])}
        with Chart.load(where) as chart:
            manifests = chart.render(
                request["values"],
                name=request.get("name", "demo"),
                namespace=request.get("namespace", "twinloop"),
                revision=request.get("revision", 1),
                is_upgrade=request.get("upgrade", False),
            )
    except HelmError as error:
        return {"refused": str(error)}
    return {"manifests": manifests}


if __name__ == "__main__":
    json.dump([answer(one) for one in json.load(sys.stdin)], sys.stdout)
