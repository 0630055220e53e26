"""Every metric that a rule or a dashboard may ask for, and who has it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from docs.metrics_page import SERVICES, declared

from observability.kube_state import DECLARED as KUBE_STATE
from observability.rules import groups

TRITON = {
    "nv_inference_request_success",
    "nv_inference_request_failure",
    "nv_inference_count",
    "nv_inference_queue_duration_us",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_pending_request_count",
}
"""Of Triton, and looked for at a real one."""
GPU = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}
"""Of Triton with a GPU (`nv_*` of its documentation)."""
EVERYWHERE = {"up", "ALERTS", "process_cpu_seconds_total", "process_resident_memory_bytes"}
"""Of Prometheus itself, and of its Python client."""

_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
_NAME = re.compile(r"(?<![\w:$\"'~.])(?:twinloop|nv|kube|process|up\b|ALERTS\b)[\w:]*")
_PATTERN = re.compile(r'__name__=~"([^"]+)"')


def served() -> set[str]:
    """The series of our services, as `/metrics` names them."""
    return {
        metric.name + suffix
        for service in SERVICES
        for metric, _ in declared(service)
        for suffix in _SUFFIXES[metric.type]
    }


def recorded() -> set[str]:
    """What rules record."""
    return {one["record"] for group in groups() for one in group["rules"] if "record" in one}


def known() -> set[str]:
    """All of them."""
    return served() | recorded() | TRITON | GPU | EVERYWHERE | set(KUBE_STATE)


def used(expression: str) -> set[str]:
    """The names of metrics in an expression; a pattern of names as it stands."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    return set(_NAME.findall(bare)) | set(_PATTERN.findall(expression))


def unknown(expressions: Iterable[str]) -> set[str]:
    """Names that nobody declares, and patterns that no declared name fits."""
    there = known()
    return {
        name
        for expression in expressions
        for name in used(expression)
        if name not in there and not any(re.fullmatch(name, one) for one in there)
    }
