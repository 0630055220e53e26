"""Of each alert: series on which it must fire, from when on, when it is over; and series on which not.

Series are written as promtool reads them: `0+60x10` is 0, 60, ... 600, one value an interval. Everything is
in the namespace `plant`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Series = dict[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """`bad` must fire at `fires`, not at `early`, and be over at `over`; `good` must never fire."""

    alert: str
    bad: Series
    good: Series
    early: str
    fires: str
    over: str
    interval: str = "1m"
    labels: dict[str, str] = field(default_factory=dict)
    """Of the rule that is meant, and of the series where that has none."""


def _records(late: str, finished: str) -> Series:
    return {
        'twinloop_detector_late_records_total{namespace="plant", job="detector"}': late,
        'twinloop_detector_finished_records_total{namespace="plant", job="detector"}': finished,
    }


def _letters(refused: str, finished: str) -> Series:
    return {
        'twinloop_detector_dead_letters_total{namespace="plant", job="detector", reason="ragged"}': refused,
        'twinloop_ingest_dead_letters_total{namespace="plant", job="ingest", reason="too_old"}': refused,
        'twinloop_detector_finished_records_total{namespace="plant", job="detector"}': finished,
    }


def _lag(lag: str, position: str, job: str = "detector", topic: str = "telemetry.factory") -> Series:
    where = f'{{namespace="plant", job="{job}", topic="{topic}", partition="3"}}'
    return {
        f"twinloop_{job}_lag_records{where}": lag,
        f"twinloop_{job}_position_records{where}": position,
    }


CONSUMERS = ("detector", "controller", "twin", "line", "historian")


def _all_lags(gone: str = "") -> Series:
    found: Series = {}
    for job in CONSUMERS:
        found |= _lag("0x10 _x20 0x20" if job == gone else "0x50", "5x50", job)
    return found


OTHERS = ("ingest", "modelops", "triton")
"""Programs that measure no lag."""


def _targets(**values: str) -> Series:
    """Whether each of all targets answered."""
    always = dict.fromkeys((*CONSUMERS, *OTHERS), "1x50")
    return {
        f'up{{namespace="plant", job="{job}", instance="a"}}': told
        for job, told in {**always, **values}.items()
    }


def _replicas(now: str) -> Series:
    which = '{namespace="plant", horizontalpodautoscaler="keda-hpa-twinloop-detector"}'
    return {
        f"kube_horizontalpodautoscaler_status_current_replicas{which}": now,
        f"kube_horizontalpodautoscaler_spec_max_replicas{which}": "12x80",
    }


def _counter(name: str, labels: str, values: str) -> Series:
    return {f'{name}{{namespace="plant", {labels}}}': values}


def _transactions(aborted: str) -> Series:
    name = "twinloop_detector_transactions_total"
    return _counter(name, 'job="detector", outcome="committed"', "0+60x80") | _counter(
        name, 'job="detector", outcome="aborted"', aborted
    )


def _queueing(queued_us: str) -> Series:
    return _counter("nv_inference_queue_duration_us", 'model="weld", version="1"', queued_us) | _counter(
        "nv_inference_request_success", 'model="weld", version="1"', "0+60x80"
    )


def _loop(within_2_s: str, all_of_them: str, approver: str = "policy") -> Series:
    """Changes, by who released them."""
    buckets = {
        f'twinloop_line_loop_seconds_bucket{{namespace="plant", approver="{approver}", le="{le}"}}': values
        for le, values in (("2.0", within_2_s), ("5.0", all_of_them), ("+Inf", all_of_them))
    }
    return buckets | _counter("twinloop_line_loop_seconds_count", f'approver="{approver}"', all_of_them)


_REJECTED = 'model="weld", version="1", reason="REJECTED"'
_BACKEND = 'model="weld", version="1", reason="BACKEND"'

CASES: tuple[Case, ...] = (
    # 20 % late is 20 times the budget of 1 %.
    Case(
        "TwinloopFreshnessBurn",
        _records("0+12x120 1440x120", "0+60x240"),
        _records("0+3x240", "0+60x240"),
        "1m",
        "70m",
        "180m",
        labels={"long_window": "1h"},
    ),
    # 8 % is more than 6 times and less than 14.4 times.
    Case(
        "TwinloopFreshnessBurn",
        _records("0+5x480 2400x120", "0+60x600"),
        _records("0+3x600", "0+60x600"),
        "1m",
        "400m",
        "590m",
        labels={"long_window": "6h"},
    ),
    Case(
        "TwinloopFreshnessBurnSlow",
        _records("0+12x432 5184x200", "0+600x632"),
        _records("0+5x632", "0+600x632"),
        "10m",
        "4320m",
        "6000m",
        "10m",
        labels={"long_window": "3d"},
    ),
    Case(
        "TwinloopErrorBurn",
        _letters("0+1x120 120x120", "0+60x240"),
        _letters("0+0.3x240", "0+1200x240"),
        "1m",
        "70m",
        "180m",
        labels={"long_window": "1h"},
    ),
    Case(
        "TwinloopErrorBurn",
        _letters("0+1x480 480x120", "0+200x600"),
        _letters("0+1x600", "0+600x600"),
        "1m",
        "400m",
        "590m",
        labels={"long_window": "6h"},
    ),
    Case(
        "TwinloopErrorBurnSlow",
        _letters("0+1x432 432x200", "0+600x632"),
        _letters("0+1x632", "0+6000x632"),
        "10m",
        "4320m",
        "6000m",
        "10m",
        labels={"long_window": "3d"},
    ),
    Case(
        "TwinloopExactlyOnceViolation",
        _counter("twinloop_historian_reconciliation_violations_total", 'kind="outputs_lost"', "0x5 1x60"),
        _counter("twinloop_historian_reconciliation_violations_total", 'kind="outputs_lost"', "7x65"),
        "5m",
        "8m",
        "30m",
    ),
    Case(
        "TwinloopExactlyOnceUnmeasured",
        _counter("twinloop_historian_reconciliation_timestamp_seconds", 'job="historian"', "0x20 1260+60x40"),
        _counter("twinloop_historian_reconciliation_timestamp_seconds", 'job="historian"', "0+60x60"),
        "4m",
        "12m",
        "30m",
        labels={"job": "historian"},
    ),
    Case(
        "TwinloopConsumerStalled",
        _lag("20+60x20 0x40", "500x20 1700x40"),
        _lag("40x60", "500+60x60") | _lag("8x60", "500x60", topic="telemetry.vehicle"),
        "5m",
        "10m",
        "30m",
    ),
    Case(
        "TwinloopLagSeconds",
        _lag("600x30 5x40", "0+60x70"),
        _lag("20x70", "0+60x70"),
        "3m",
        "15m",
        "40m",
    ),
    *(
        Case("TwinloopLagAbsent", _all_lags(job), _all_lags(), "9m", "22m", "40m", labels={"job": job})
        for job in CONSUMERS
    ),
    Case(
        "TwinloopAtMaxReplicas",
        _replicas("12x30 11x50") | _lag("6000x80", "0+60x80"),
        _replicas("12x80") | _lag("20x80", "0+60x80"),
        "8m",
        "20m",
        "40m",
    ),
    Case(
        "TwinloopRebalanceStorm",
        _counter("twinloop_controller_rebalances_total", 'job="controller"', "1+1x10 11x60"),
        _counter("twinloop_controller_rebalances_total", 'job="controller"', "1x10 4x60"),
        "3m",
        "12m",
        "40m",
    ),
    Case(
        "TwinloopTransactionAborts",
        _transactions("0+10x20 200x60"),
        _transactions("0x10 2x70"),
        "3m",
        "15m",
        "40m",
    ),
    Case(
        "TwinloopDeadLetterRate",
        _counter("twinloop_twin_dead_letters_total", 'job="twin"', "0+30x20 600x60"),
        _counter("twinloop_twin_dead_letters_total", 'job="twin"', "0+3x80"),
        "3m",
        "15m",
        "40m",
    ),
    Case(
        "TwinloopTargetDown",
        _targets(line="1x5 0x10 1x20"),
        _targets(other="0x50"),
        "6m",
        "10m",
        "20m",
        labels={"job": "line"},
    ),
    *(
        Case(
            "TwinloopTargetDown",
            _targets(**{job: "1x10 _x20 1x20"}),
            _targets(),
            "9m",
            "22m",
            "40m",
            labels={"job": job},
        )
        for job in OTHERS
    ),
    Case(
        "TwinloopTritonBackendFailures",
        _counter("nv_inference_request_failure", _BACKEND, "0x5 10x60"),
        _counter("nv_inference_request_failure", _BACKEND, "0x5 1x60"),
        "4m",
        "7m",
        "20m",
    ),
    Case(
        "TwinloopTritonQueueing",
        _queueing("0+12000000x30 360000000x50"),
        _queueing("0+300000x80"),
        "8m",
        "20m",
        "50m",
    ),
    Case(
        "TwinloopTritonRejecting",
        _counter("nv_inference_request_failure", _REJECTED, "0x5 9x60"),
        _counter("nv_inference_request_failure", _REJECTED, "9x65"),
        "5m",
        "8m",
        "20m",
    ),
    Case(
        "TwinloopCircuitOpen",
        _counter("twinloop_detector_circuit_open", 'model="weld:1"', "0x5 1x10 0x30"),
        _counter("twinloop_detector_circuit_open", 'model="weld:1"', "0x45"),
        "5m",
        "8m",
        "20m",
    ),
    # 60 changes an hour, of which three take more than 2 s.
    Case(
        "TwinloopLoopSlow",
        _loop("0+1x10 10x3 11+1x60", "0+1x75"),
        _loop("0+1x10 10+1x65", "0+1x75") | _loop("0x75", "0+1x75", approver="person"),
        "5m",
        "35m",
        "70m",
    ),
    Case(
        "TwinloopLoopShed",
        _counter("twinloop_line_mode_sheds_total", 'job="line", code="watchdog"', "0x5 1x60"),
        _counter("twinloop_controller_modes_total", 'job="controller", event="mode_entered"', "0+1x65"),
        "5m",
        "8m",
        "30m",
    ),
    Case(
        "TwinloopAuthorityExhausted",
        _counter("twinloop_controller_refusals_total", 'guard="authority"', "0x5 3x60"),
        _counter("twinloop_controller_refusals_total", 'guard="cooldown"', "0+3x65"),
        "5m",
        "8m",
        "30m",
    ),
    Case(
        "TwinloopAuditChainBroken",
        _counter("twinloop_line_audit_broken", 'job="line"', "0x5 1x20 0x20"),
        _counter("twinloop_line_audit_broken", 'job="line"', "0x45"),
        "4m",
        "8m",
        "40m",
    ),
)
