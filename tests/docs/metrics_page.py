"""docs/metrics.md: every metric of every service, from where it is declared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.metrics import MetricWrapperBase

from twinloop.audit.metrics import AuditMetrics
from twinloop.controller.field.metrics import FieldMetrics
from twinloop.controller.metrics import Metrics as Controller
from twinloop.detector.metrics import Metrics as Detector
from twinloop.historian.metrics import Metrics as Historian
from twinloop.ingest.metrics import Metrics as Ingest
from twinloop.line.metrics import Metrics as Line
from twinloop.modelops.metrics import Metrics as Modelops
from twinloop.runtime.observability.metrics import ConsumerMetrics, ServiceMetrics
from twinloop.runtime.stream.metrics import StreamMetrics
from twinloop.simulator.metrics import Metrics as Simulator
from twinloop.twin.metrics import Metrics as Twin

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

Declare = Callable[[CollectorRegistry], object]


def _reads(service: str) -> Declare:
    return lambda registry: ConsumerMetrics(registry, service)


def _audits(service: str) -> Declare:
    return lambda registry: AuditMetrics(registry, service)


SERVICES: dict[str, tuple[Declare, ...]] = {
    "ingest": (Ingest,),
    "detector": (
        Detector,
        lambda registry: StreamMetrics(registry, "detector"),
        _reads("detector"),
    ),
    "modelops": (Modelops, _audits("modelops")),
    "controller": (Controller, FieldMetrics, _reads("controller"), _audits("controller")),
    "twin": (Twin, _reads("twin"), _audits("twin")),
    "line": (Line, _reads("line"), _audits("line")),
    "historian": (Historian, _reads("historian")),
    "simulator": (Simulator,),
}


def declared(service: str) -> list[tuple[Metric, tuple[str, ...]]]:
    """The metrics of a service by name, each with its labels."""
    registry = CollectorRegistry()
    for declare in (*SERVICES[service], lambda registry: ServiceMetrics(registry, service)):
        declare(registry)
    found = []
    for one in list(registry._collector_to_names):
        assert isinstance(one, MetricWrapperBase)
        found.append((next(iter(one.describe())), one._labelnames))
    return sorted(found, key=lambda pair: pair[0].name)


def documented(service: str) -> set[str]:
    """The names, as `/metrics` gives them."""
    return {_name(metric) for metric, _ in declared(service)}


def page() -> str:
    """The text of the page."""
    lines = [
        "# Metrics",
        "",
        "Each service serves these on `/metrics`, beside `process_*` and `python_info` of its client.",
        "`make docs` writes this page from where the metrics are declared.",
    ]
    for service in SERVICES:
        lines += ["", f"## {service}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        for metric, labels in declared(service):
            named = ", ".join(f"`{one}`" for one in labels)
            lines.append(f"| `{_name(metric)}` | {metric.type} | {named} | {metric.documentation} |")
    return "\n".join(lines) + "\n"


def _name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name
