"""What `line` counts and measures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The service's metrics, registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.changes = Counter(
            "twinloop_line_changes_total",
            "Change events published, by state: issued, applied, failed or expired.",
            ["state"],
            registry=registry,
        )
        self.failures = Counter(
            "twinloop_line_failures_total",
            "Changes that failed, by who refused: a guard of ours, plc, read_back or outcome. The last two "
            "need a person: compare the device with what is wanted.",
            ["guard"],
            registry=registry,
        )
        self.foreign = Gauge(
            "twinloop_line_foreign_changes",
            "Released changes of assets that the file of limits does not name: another line's, or a table "
            "is missing. They are left alone.",
            registry=registry,
        )
        self.dead_letters = Counter(
            "twinloop_line_dead_letters_total",
            "Records of `changes` that are none. Look at `dead-letters`.",
            registry=registry,
        )
        self.loop_seconds = Histogram(
            "twinloop_line_loop_seconds",
            "From the observed part to the applied change, read back: the latency of the loop.",
            buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=registry,
        )
        self.plc_seconds = Histogram(
            "twinloop_line_plc_seconds",
            "One OPC UA request, by kind: read or command.",
            ["kind"],
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2),
            registry=registry,
        )
        self.plc_connected = Gauge(
            "twinloop_line_plc_connected", "1 while there is a session with the PLC.", registry=registry
        )
