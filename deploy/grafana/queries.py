"""What several dashboards ask alike. Pure."""

from __future__ import annotations

from grafana.panels import NS, RATE, Panel, Query


def quantile(q: float, metric: str, by: str = "", matchers: str = "") -> str:
    labels = ", ".join(["le", *([by] if by else [])])
    inside = ", ".join([NS, *([matchers] if matchers else [])])
    return f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{{inside}}}[{RATE}])))"


def latency(title: str, metric: str, **more: object) -> Panel:
    queries = [Query(quantile(q, metric), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)]
    return Panel(title, queries, unit="s", **more)  # type: ignore[arg-type]


def rate(metric: str, by: str, matchers: str = "") -> str:
    inside = ", ".join([NS, *([matchers] if matchers else [])])
    return f"sum by ({by}) (rate({metric}{{{inside}}}[{RATE}]))"


def within(metric: str, window: str, by: str = "", matchers: str = "") -> str:
    inside = ", ".join([*([matchers] if matchers else []), NS])
    summed = f"sum by ({by})" if by else "sum"
    return f"{summed} (increase({metric}{{{inside}}}[{window}]))"


DECIDING = 'role="decides"'
VEHICLES = 'topic=~".*telemetry.vehicle"'


def one(title: str, expression: str, **more: object) -> Panel:
    return Panel(title, [Query(expression)], kind="stat", **more)  # type: ignore[arg-type]


LAG = Panel(
    "Lag",
    [Query(f"sum by (job, topic) (twinloop:lag:records{{{NS}}})", "{{job}} {{topic}}")],
    help="Records of committed transactions that were not read yet.",
)
