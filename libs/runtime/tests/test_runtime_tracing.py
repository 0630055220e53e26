"""Spans of events: their ids are those of the events; and nothing at all where nobody wants them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from twinloop.contracts.codec import message
from twinloop.contracts.events import Alarm, AlarmCode
from twinloop.contracts.ids import event_id, trace_id
from twinloop.contracts.times import unix_ns
from twinloop.contracts.topics import ALARMS
from twinloop.runtime.observability import tracing
from twinloop.runtime.observability.otel import OtelSpans

AT = datetime(2026, 1, 1, tzinfo=UTC)
CAUSE = event_id("anomaly", "a", 1)


class Kept(SpanExporter):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def alarm(number: int = 1, cause: str | None = CAUSE, trace: str | None = None) -> Alarm:
    return Alarm(
        event_id=event_id("alarm", number),
        asset="a",
        at=AT,
        observed_at=AT,
        trace_id=trace_id("frame", number) if trace is None else trace,
        caused_by=cause,
        code=AlarmCode.GAP,
        text="",
    )


def exported(*events: Alarm) -> list[ReadableSpan]:
    kept = Kept()
    spans = OtelSpans("controller", kept)
    spans.published([message(ALARMS, one, source="controller") for one in events], unix_ns(AT) + 5)
    spans.close()
    return kept.spans


def test_the_span_of_an_event_has_its_ids_and_its_cause_as_parent() -> None:
    (span,) = exported(alarm())
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == alarm().trace_id
    assert f"{span.context.span_id:016x}" == alarm().event_id.replace("-", "")[:16]
    assert f"{span.parent.span_id:016x}" == CAUSE.replace("-", "")[:16]
    assert span.parent.trace_id == span.context.trace_id
    assert (span.name, span.start_time, span.end_time) == ("alarm", unix_ns(AT), unix_ns(AT) + 5)
    assert span.resource.attributes["service.name"] == "controller"


def test_what_nothing_led_to_is_a_root_and_what_has_no_trace_is_no_span() -> None:
    (span,) = exported(alarm(cause=None), alarm(2, trace=""))
    assert span.parent is None


def test_a_sample_has_the_same_traces_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    events = [alarm(n) for n in range(400)]
    chosen = [{one.context.trace_id for one in exported(*events) if one.context} for _ in range(2)]
    assert chosen[0] == chosen[1]
    assert 50 < len(chosen[0]) < 150


def test_work_for_many_is_linked_to_them() -> None:
    kept = Kept()
    spans = OtelSpans("detector", kept)
    of = [(alarm(n).trace_id, alarm(n).event_id) for n in range(200)]
    spans.did_together("score", of, 1, 2, 300)
    spans.close()
    (span,) = kept.spans
    assert span.parent is None
    assert len(span.links) == 128
    assert f"{span.links[3].context.trace_id:032x}" == of[3][0]


def test_without_an_endpoint_nothing_is_imported_and_nothing_done() -> None:
    code = (
        "import sys; import twinloop.runtime.kafka.clients, twinloop.runtime.service;"
        "from twinloop.runtime.observability import tracing; tracing.configure('x', {});"
        "tracing.published([None]); tracing.did('a', 'b', 'c', 0); tracing.close();"
        "assert not tracing.on(); assert not [one for one in sys.modules if one.startswith('opentelemetry')]"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_an_endpoint_begins_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class Some:
        def __init__(self, service: str) -> None:
            told.append(service)

        def close(self) -> None:
            told.append("closed")

    monkeypatch.setattr("twinloop.runtime.observability.otel.OtelSpans", Some)
    tracing.configure("line", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
    assert tracing.on()
    tracing.close()
    assert (told, tracing.on()) == (["line", "closed"], False)
    tracing.configure("line", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"})
    assert not tracing.on()
