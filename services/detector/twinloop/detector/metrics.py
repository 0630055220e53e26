"""What the detector counts and measures beside its stream (`twinloop.runtime.stream.metrics`).

The label `model` is a served model, `reason` one of the dead-letter reasons or of `beside.Reason`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from twinloop.contracts.deadletters import Reason


class Metrics:
    """The service's metrics, registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.duplicates = Counter(
            "twinloop_detector_duplicates_total",
            "Frames dropped because their sequence number had been seen.",
            registry=registry,
        )
        self.unrouted = Counter(
            "twinloop_detector_unrouted_total",
            "Frames not scored because no model serves their asset. Announce a route on `models`.",
            registry=registry,
        )
        self.too_wide = Counter(
            "twinloop_detector_windows_too_wide_total",
            "Windows not judged because they span more records of their partition than are remembered. Raise"
            " TWINLOOP_DETECTOR_MEMORY_RECORDS, or use more partitions.",
            registry=registry,
        )
        self.silent = Counter(
            "twinloop_detector_silent_total",
            "Frames whose asset was last heard of more records ago than are remembered: windows begin anew."
            " Normal after a pause; as many as frames: raise TWINLOOP_DETECTOR_MEMORY_RECORDS.",
            registry=registry,
        )
        self.dead_letters = Counter(
            "twinloop_detector_dead_letters_total",
            "Frames refused, by reason. Look at `dead-letters`.",
            ["reason"],
            registry=registry,
        )
        for reason in Reason:  # from 0 on: what comes first is an increase, too
            self.dead_letters.labels(reason)
        self.windows = Counter(
            "twinloop_detector_windows_total",
            "Windows judged, by what comes of the verdict: it decides, shadows or stands by.",
            ["model", "role"],
            registry=registry,
        )
        self.anomalies = Counter(
            "twinloop_detector_anomalies_total", "Windows judged anomalous.", ["model"], registry=registry
        )
        self.trial_failures = Counter(
            "twinloop_detector_trial_failures_total",
            "Windows without a verdict of a version that decides nothing: it is on trial, or kept ready, and"
            " failed, or was unavailable or late. Those that decide are not held up; its trial is stopped.",
            ["model", "reason"],
            registry=registry,
        )
        self.batch_windows = Histogram(
            "twinloop_detector_batch_windows",
            "Windows in one request to Triton, over all partitions.",
            buckets=(1, 4, 16, 64, 256, 1024, 4096),
            registry=registry,
        )
        self.infer_seconds = Histogram(
            "twinloop_detector_infer_seconds",
            "One inference, as the detector sees it.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
            registry=registry,
        )
        self.circuit_open = Gauge(
            "twinloop_detector_circuit_open",
            "1 while a version of a model is not asked because it failed, but for a probe. The log says why.",
            ["model"],
            registry=registry,
        )
        self.circuit_opened = Counter(
            "twinloop_detector_circuit_opened_total",
            "How often a model failed so that it was not asked any more for a while.",
            ["model"],
            registry=registry,
        )
        self.routes = Gauge(
            "twinloop_detector_routes",
            "Routes followed: assets and signal sets with a model.",
            registry=registry,
        )
        self.routes_refused = Gauge(
            "twinloop_detector_routes_refused",
            "Assets and signal sets whose newest route cannot be followed, or not all of it. /health/ready"
            " says why; announce a sound one.",
            registry=registry,
        )
