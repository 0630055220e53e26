"""Spans by OpenTelemetry's SDK and OTLP over HTTP. Imported by `tracing` alone, and only when it exports.

Spans are made whole when what they are of is over: their ids are those of events, which the SDK's tracer
would not take.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

from twinloop.contracts.codec import Message
from twinloop.contracts.times import unix_ns

MOST_LINKS = 128
"""What the SDK's own spans may have."""
MEASURED_ON_OTHERS = ("verified", "inconclusive")
"""What led to these is a later part, whose trace is another: in theirs they have no parent."""
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("twinloop")


class OtelSpans:
    """`Spans` of one service. `exporter`: by default the one that the environment names."""

    def __init__(self, service: str, exporter: SpanExporter | None = None) -> None:
        made = {"service.name": service, "service.namespace": "twinloop"}
        if name := os.environ.get("OTEL_SERVICE_NAME"):
            made["service.name"] = name
        self._resource = Resource.create(made)
        self._ratio = _sampler(os.environ)
        self._processor = BatchSpanProcessor(exporter or OTLPSpanExporter())

    def published(self, messages: Iterable[Message], ended_ns: int) -> None:
        """See `Spans`."""
        for one in messages:
            headers = dict(one.headers)
            if (parent := headers.get("traceparent")) is None:
                continue
            _, trace, span, _ = parent.decode().split("-")
            if not self._wanted(trace):
                continue
            cause = headers.get("ce_causedby", b"").decode()
            kind = headers["ce_type"].decode().split(".")[1]
            child = cause and kind not in MEASURED_ON_OTHERS
            began_ns = unix_ns(datetime.fromisoformat(headers["ce_time"].decode()))
            self._tell(
                kind,
                _context(trace, span),
                _context(trace, _span_of(cause)) if child else None,
                min(began_ns, ended_ns),
                ended_ns,
                kind=SpanKind.PRODUCER,
                attributes={
                    "messaging.system": "kafka",
                    "messaging.destination.name": one.topic.name,
                    "messaging.message.id": headers["ce_id"].decode(),
                    "twinloop.subject": headers["ce_subject"].decode(),
                },
            )

    def did(
        self, name: str, trace_id: str, cause: str, began_ns: int, ended_ns: int, facts: Mapping[str, str]
    ) -> None:
        """See `Spans`."""
        if trace_id and self._wanted(trace_id):
            self._tell(
                name,
                _context(trace_id, secrets.token_hex(8)),
                _context(trace_id, _span_of(cause)),
                began_ns,
                ended_ns,
                kind=SpanKind.CLIENT,
                attributes={f"twinloop.{key}": value for key, value in facts.items()},
            )

    def did_together(
        self, name: str, of: Sequence[tuple[str, str]], began_ns: int, ended_ns: int, count: int
    ) -> None:
        """See `Spans`."""
        wanted = [Link(_context(trace, _span_of(event))) for trace, event in of if self._wanted(trace)]
        if wanted:
            self._tell(
                name,
                _context(secrets.token_hex(16), secrets.token_hex(8)),
                None,
                began_ns,
                ended_ns,
                kind=SpanKind.CLIENT,
                attributes={"twinloop.count": count},
                links=wanted[:MOST_LINKS],
            )

    def close(self) -> None:
        """See `Spans`."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]

    def _wanted(self, trace: str) -> bool:
        if self._ratio is None:
            return True
        return self._ratio.should_sample(None, int(trace, 16), "").decision is Decision.RECORD_AND_SAMPLE

    def _tell(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        began_ns: int,
        ended_ns: int,
        *,
        kind: SpanKind,
        attributes: Mapping[str, str | int],
        links: Sequence[Link] = (),
    ) -> None:
        self._processor.on_end(
            ReadableSpan(
                name,
                context=context,
                parent=parent,
                resource=self._resource,
                attributes=dict(attributes),
                links=links,
                kind=kind,
                start_time=began_ns,
                end_time=ended_ns,
                instrumentation_scope=_SCOPE,
            )
        )


def _sampler(environ: Mapping[str, str]) -> TraceIdRatioBased | None:
    """`None`: every trace. All services choose alike, because ids of traces are hashes of what began them."""
    which = environ.get("OTEL_TRACES_SAMPLER", "").removeprefix("parentbased_")
    if which == "always_off":
        return TraceIdRatioBased(0.0)
    if which == "traceidratio":
        return TraceIdRatioBased(float(environ.get("OTEL_TRACES_SAMPLER_ARG") or 1))
    return None


def _span_of(event: str) -> str:
    """The id of an event's span, as in its `traceparent`."""
    return event.replace("-", "")[:16]


def _context(trace: str, span: str) -> SpanContext:
    return SpanContext(int(trace, 16), int(span, 16), is_remote=False, trace_flags=_SAMPLED)
