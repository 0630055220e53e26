"""What is counted and logged of a decision, once it is published."""

from __future__ import annotations

from collections.abc import Iterable

from twinloop.contracts.changes import ChangeEvent, Proposed
from twinloop.contracts.controls import ControlEvent
from twinloop.contracts.events import Alarm, Anomaly, Event
from twinloop.contracts.topics import Topic
from twinloop.controller.metrics import Metrics
from twinloop.controller.state import (
    BadInput,
    Diagnosed,
    Found,
    GaveUp,
    Ignored,
    Outcome,
    Refused,
    WouldPropose,
)
from twinloop.runtime.clock import Clock
from twinloop.runtime.observability import logging

log = logging.logger(__name__)


class Accounts:
    """Counts in `metrics`, and logs what a person may want to read."""

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock

    def count(self, topic: Topic | None, cause: Event | None, outcomes: Iterable[Outcome]) -> None:
        """`outcomes` follow from `cause`, a record of `topic`; both `None` when time alone led to them."""
        fate = "folded"
        for one in outcomes:
            if isinstance(one, Ignored):
                fate = "ignored"
            self._outcome(one, cause)
        if topic is not None:
            self._metrics.records.labels(topic.name, fate).inc()

    def _outcome(self, one: Outcome, cause: Event | None) -> None:
        metrics = self._metrics
        match one:
            case Ignored(why):
                metrics.ignored.labels(why).inc()
            case Diagnosed(diagnosis):
                metrics.findings.labels(diagnosis).inc()
            case BadInput(what):
                metrics.bad_input.labels(what).inc()
            case Refused(guard):
                metrics.refusals.labels(guard).inc()
            case Found(finding):
                metrics.field_findings.inc()
                log.warning(
                    "field evidence", asset=finding.asset, evidence=len(finding.evidence), text=finding.text
                )
            case WouldPropose(proposed, again):
                metrics.would_propose.inc()
                if not again:
                    asset, reason = proposed.asset, proposed.reason
                    log.info("would propose", asset=asset, reason=reason, trace_id=proposed.trace_id)
            case GaveUp(change_id, state):
                metrics.given_up.labels(state).inc()
                log.warning("gave up waiting for a change", change=change_id, state=str(state))
            case Alarm():
                metrics.alarms.labels(one.code).inc()
                code = str(one.code)
                log.warning("alarm", asset=one.asset, code=code, text=one.text, trace_id=one.trace_id)
            case ControlEvent():
                event = str(one.__struct_config__.tag)
                metrics.modes.labels(event).inc()
                log.info("mode", asset=one.asset, what=event, trace_id=one.trace_id)
            case ChangeEvent():
                self._change(one, cause)
            case Event():
                raise TypeError(f"{type(one).__name__} is none of ours")

    def _change(self, one: ChangeEvent, cause: Event | None) -> None:
        state = str(one.__struct_config__.tag)
        self._metrics.changes.labels(state).inc()
        log.info("change", asset=one.asset, change=one.change_id, state=state, trace_id=one.trace_id)
        if isinstance(one, Proposed) and isinstance(cause, Anomaly):
            delay = self._clock.now() - cause.at
            self._metrics.proposal_seconds.observe(max(0.0, delay.total_seconds()))
