"""What dashboards are made of: panels in rows, as Grafana's JSON (schema 39). Pure.

In queries `NS` stands for the matcher of the chosen namespaces, and `RATE` for the window that Grafana thinks
right for a rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

NS = 'namespace=~"$namespace"'
RATE = "$__rate_interval"
WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """One query, and how its series are called (`{{label}}`)."""

    expression: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """`kind`: `timeseries`, or `stat` for one number. `unit` is Grafana's (`s`, `reqps`, `percentunit`). From
    `warn` on it is yellow, from `bad` on red. `help` is what to read when it looks wrong."""

    title: str
    queries: Sequence[Query]
    unit: str = "short"
    kind: str = "timeseries"
    warn: float | None = None
    bad: float | None = None
    help: str = ""
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Panels side by side."""

    title: str
    panels: Sequence[Panel]
    height: int = 8


def dashboard(uid: str, title: str, about: str, rows: Sequence[Row]) -> Json:
    """The JSON of a dashboard. `about` is for the person who opens it for the first time."""
    panels, y, number = list[Json](), 0, 0
    for row in rows:
        number += 1
        panels.append(
            {
                "id": number,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
            }
        )
        y += 1
        width = WIDTH // len(row.panels)
        for n, one in enumerate(row.panels):
            number += 1
            panels.append(_panel(one, number, {"h": row.height, "w": width, "x": n * width, "y": y}))
        y += row.height
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["twinloop"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [_alerts_as_annotations()]},
        "links": [{"type": "dashboards", "title": "Twinloop", "tags": ["twinloop"], "asDropdown": True}],
        "templating": {"list": [_datasource(), _namespace()]},
        "panels": panels,
    }


def _panel(one: Panel, number: int, place: Json) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    steps += [{"color": "yellow", "value": one.warn}] if one.warn is not None else []
    steps += [{"color": "red", "value": one.bad}] if one.bad is not None else []
    custom: Json = {"fillOpacity": 10, "showPoints": "never"}
    if one.stacked:
        custom |= {"stacking": {"mode": "normal"}, "fillOpacity": 40}
    if one.kind == "timeseries" and one.bad is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
    return {
        "id": number,
        "type": one.kind,
        "title": one.title,
        "description": one.help,
        "gridPos": place,
        "datasource": SOURCE,
        "targets": [
            {
                "refId": chr(ord("A") + n),
                "datasource": SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend or "__auto",
            }
            for n, query in enumerate(one.queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": one.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                **({"custom": custom} if one.kind == "timeseries" else {}),
            },
            "overrides": [],
        },
        "options": (
            {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
            if one.kind == "timeseries"
            else {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"}
        ),
    }


def _datasource() -> Json:
    return {"type": "datasource", "name": "datasource", "query": "prometheus", "label": "Prometheus"}


def _namespace() -> Json:
    return {
        "type": "query",
        "name": "namespace",
        "label": "Namespace",
        "datasource": SOURCE,
        "query": "label_values(twinloop_detector_partitions, namespace)",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _alerts_as_annotations() -> Json:
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": f'ALERTS{{alertname=~"Twinloop.*", alertstate="firing", {NS}}}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}} {{job}} {{model}}",
        "step": "30s",
    }
