"""What every service measures, under its own name: `twinloop_<service>_*`."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class ServiceMetrics:
    """Of a service's process; registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        self.loop_lag_seconds = Histogram(
            f"twinloop_{service}_loop_lag_seconds",
            "How late the event loop woke somebody, asked ten times a second. Long: computing holds up"
            " heartbeats, answers and commits.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=registry,
        )


class ConsumerMetrics:
    """Of all that a service reads from Kafka; registered once in `registry`. `topic` is a name on the
    cluster."""

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        self.lag = Gauge(
            f"twinloop_{service}_lag_records",
            "Records of committed transactions that were not read yet: up to the last stable offset, of the"
            " partitions that this member holds. A topic written in transactions counts their markers, too.",
            ["topic", "partition"],
            registry=registry,
        )
        self.rebalances = Counter(
            f"twinloop_{service}_rebalances_total",
            "Assignments by the group. Many an hour: members come and go, look at their logs.",
            registry=registry,
        )

    def lags(self) -> Lags:
        """The lags of one more consumer."""
        return Lags(self.lag)


class Lags:
    """The lags of one consumer: partitions that it does not hold any more are not shown."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._shown: set[TopicPartition] = set()

    def show(self, records: Mapping[TopicPartition, int]) -> None:
        """These, and no others."""
        for gone in self._shown - set(records):
            self._gauge.remove(gone.topic, str(gone.partition))
        for one, count in records.items():
            self._gauge.labels(one.topic, str(one.partition)).set(count)
        self._shown = set(records)
