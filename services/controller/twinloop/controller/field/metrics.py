"""What the field worker counts and measures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class FieldMetrics:
    """Registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "twinloop_controller_field_records_total",
            "Records that the field worker read, by fate: folded, repeated, others (a station's, or another "
            "model's), waiting (for the vehicle to be built), evicted (it waited, and made room for others), "
            "replaced (a minute with a pack that was), unusable (from the future, without a distance, or not "
            "to be folded: in dead-letters, but for what is read while catching up) or undecodable. All are "
            "read again after each start.",
            ["topic", "fate"],
            registry=registry,
        )
        self.published = Counter(
            "twinloop_controller_field_published_total",
            "Events published on field-evidence: vehicle_score, vehicle_anomaly, field_finding.",
            ["event"],
            registry=registry,
        )
        self.publish_retries = Counter(
            "twinloop_controller_field_publish_retries_total",
            "Attempts to publish that failed and were made again. Growing: Kafka does not acknowledge.",
            registry=registry,
        )
        self.failures = Counter(
            "twinloop_controller_field_failures_total",
            "Times that the field work failed and began anew. Growing: see the log; the fast loop goes on.",
            registry=registry,
        )
        self.vehicles = Gauge(
            "twinloop_controller_field_vehicles",
            "Vehicles whose joints are known; 0 while another replica does the work.",
            registry=registry,
        )
        self.outside = Gauge(
            "twinloop_controller_field_joints_outside",
            "Joints of vehicles that were welded outside of the build windows of field.toml: no finding will "
            "ever name them. Growing: the windows are over, and a new grid is due.",
            registry=registry,
        )
        self.look_seconds = Histogram(
            "twinloop_controller_field_look_seconds",
            "How long a look at all evidence takes.",
            buckets=(0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
            registry=registry,
        )
