"""What the twin counts and measures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram


class Metrics:
    """The service's metrics, registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.changes = Counter(
            "twinloop_twin_changes_total",
            "Change events published, by state: simulated, approved or rejected.",
            ["state"],
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
