"""What a service with an audit store measures of it: `twinloop_<service>_audit_*`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class AuditMetrics:
    """Of one store; registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        self.entries = Counter(
            f"twinloop_{service}_audit_entries_total", "Entries that are on the disk.", registry=registry
        )
        self.seconds = Histogram(
            f"twinloop_{service}_audit_seconds",
            "How long one write with its fsync took. Long: a slow disk holds up every act.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=registry,
        )
        self.away = Gauge(
            f"twinloop_{service}_audit_away",
            "1 while nothing can be written down, and so nothing is done: look at the disk.",
            registry=registry,
        )
        self.broken = Gauge(
            f"twinloop_{service}_audit_broken",
            "1 when the store is not the chain that was written: somebody changed, cut or replaced it. It is"
            " read again all the time, a piece a second. `twinloop audit verify` names the lines.",
            registry=registry,
        )
        self.unpublished = Gauge(
            f"twinloop_{service}_audit_unpublished_entries",
            "Entries without a copy on the topic audit. Growing: Kafka is away.",
            registry=registry,
        )
