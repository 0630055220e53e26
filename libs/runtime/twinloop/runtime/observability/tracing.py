"""Traces: one from a frame to the write to the PLC, as OpenTelemetry spans.

Every event has a `trace_id`, and an `event_id` whose first 16 digits are its span's id, so its `traceparent`
header (`twinloop.contracts.codec`) is a link to it, and the id in a log line is that of the trace. The event
that led to it (`caused_by`) is the parent. So spans need no context that is handed around: whoever publishes
an event tells it, and the tree comes together where it is stored.

Nothing is exported, and nothing of OpenTelemetry imported, unless OTEL_EXPORTER_OTLP_ENDPOINT is set: without
it each call here is one look at a variable. Its other standard variables count, too: OTEL_TRACES_SAMPLER, as
traceidratio with OTEL_TRACES_SAMPLER_ARG (all services choose the same traces), OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_*.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from twinloop.contracts.codec import Message

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Spans(Protocol):
    """Where spans go. Never waits and never raises; too many are dropped."""

    def published(self, messages: Iterable[Message], ended_ns: int) -> None:
        """See `published`."""
        ...

    def did(
        self, name: str, trace_id: str, cause: str, began_ns: int, ended_ns: int, facts: Mapping[str, str]
    ) -> None:
        """See `did`."""
        ...

    def did_together(
        self, name: str, of: Sequence[tuple[str, str]], began_ns: int, ended_ns: int, count: int
    ) -> None:
        """See `did_together`."""
        ...

    def close(self) -> None:
        """Send what waits, for some seconds at most."""
        ...


_spans: Spans | None = None


def configure(service: str, environ: Mapping[str, str] = os.environ) -> None:
    """Begin to export what `service` does, if the environment says where to. Once a process."""
    global _spans
    if not any(environ.get(one) for one in ENDPOINTS) or environ.get("OTEL_SDK_DISABLED") == "true":
        return
    from twinloop.runtime.observability.otel import OtelSpans

    _spans = OtelSpans(service)


def close() -> None:
    """Send what waits, and export no more."""
    global _spans
    if _spans is not None:
        _spans.close()
        _spans = None


def on() -> bool:
    """Whether it is worth while to collect what `did_together` wants."""
    return _spans is not None


def published(messages: Iterable[Message]) -> None:
    """These events are acknowledged, or committed: a span each, from when they were made until now."""
    if _spans is not None:
        _spans.published(messages, time.time_ns())


def did(name: str, trace_id: str, cause: str, began_ns: int, **facts: str) -> None:
    """Something was done because of the event `cause` (its id), from `began_ns` (Unix) until now."""
    if _spans is not None:
        _spans.did(name, trace_id, cause, began_ns, time.time_ns(), facts)


def did_together(name: str, of: Sequence[tuple[str, str]], began_ns: int, count: int) -> None:
    """Something was done for many events at once, which are of many traces: a trace of its own, with links to
    (some of) them, each a pair of trace id and event id. `count`: how many there were."""
    if _spans is not None:
        _spans.did_together(name, of, began_ns, time.time_ns(), count)
