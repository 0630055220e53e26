"""What the twin counts and measures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from twinloop.twin.calibration import Calibration


class Metrics:
    """The service's metrics, registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.changes = Counter(
            "twinloop_twin_changes_total",
            "Change events published, by state: simulated, approved or rejected.",
            ["state"],
            registry=registry,
        )
        self.asked = Counter(
            "twinloop_twin_asked_total",
            "Changes left to a person, by the mode in force. Many in auto: the twin cannot answer for them,"
            " its alarms say why.",
            ["mode"],
            registry=registry,
        )
        self.refusals = Counter(
            "twinloop_twin_refusals_total",
            "Changes not decided, by the guard that objected. audit: the store is away, see /health/ready.",
            ["guard"],
            registry=registry,
        )
        self.requests = Counter(
            "twinloop_twin_requests_total",
            "What persons asked for, by act and by the status that they were answered.",
            ["act", "status"],
            registry=registry,
        )
        self.alarms = Counter(
            "twinloop_twin_alarms_total", "Alarms published, by code.", ["code"], registry=registry
        )
        self.alarms.labels("twin_drift")  # from 0 on: what comes first is an increase, too
        self.illegal_controls = Gauge(
            "twinloop_twin_illegal_controls",
            "Modes, stops and overrides in the log that did not follow from what was in force, of the"
            " partitions held here. Some are normal: a promotion that something overtook.",
            registry=registry,
        )
        self.outcomes = Counter(
            "twinloop_twin_outcomes_total",
            "Applied changes by whether what was then measured lay within the interval of the forecast.",
            ["interval"],
            registry=registry,
        )
        self.coverage = Gauge(
            "twinloop_twin_forecast_coverage_ratio",
            "Of the last outcomes of an asset, the share within the 95 % interval. Below the policy: the twin"
            " gives up AUTO.",
            ["asset"],
            registry=registry,
        )
        self.bias = Gauge(
            "twinloop_twin_forecast_bias_uohm",
            "Mean of measured less expected resistance over the last outcomes of an asset.",
            ["asset"],
            registry=registry,
        )
        self.clients = Gauge(
            "twinloop_twin_stream_clients", "Who follows /stream at present.", registry=registry
        )
        self.dropped_clients = Counter(
            "twinloop_twin_stream_dropped_total",
            "Clients of /stream that did not read fast enough and were let go.",
            registry=registry,
        )
        self.unreadable = Counter(
            "twinloop_twin_unreadable_total",
            "Observed records that are no frame or no joint. The detector and the historian keep them.",
            registry=registry,
        )
        self.dead_letters = Counter(
            "twinloop_twin_dead_letters_total",
            "Records of `changes` that are none. Look at `dead-letters`.",
            registry=registry,
        )
        self.forecast_seconds = Histogram(
            "twinloop_twin_forecast_seconds",
            "Time to estimate the state and to forecast with and without a change.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5),
            registry=registry,
        )

    def calibration(self, asset: str, found: Calibration) -> None:
        """Show an asset's record. `asset` is one of the file's, so the labels are bounded."""
        if found.coverage is not None:
            self.coverage.labels(asset).set(found.coverage)
        if found.bias_uohm is not None:
            self.bias.labels(asset).set(found.bias_uohm)
