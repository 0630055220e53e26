"""What every service measures, under its own name: `twinloop_<service>_*`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Place(NamedTuple):
    """Where a consumer is in a partition: the offset that it reads next, and the one that the next record of
    a committed transaction will have."""

    position: int
    end: int

    @property
    def lag(self) -> int:
        """What lies between."""
        return max(0, self.end - self.position)


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
        self.position = Gauge(
            f"twinloop_{service}_position_records",
            "The offset that is read next. Where it stands still though there is lag, nothing is read.",
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
        return Lags(self.lag, self.position)


class Lags:
    """The lags of one consumer: partitions that it does not hold any more are not shown."""

    def __init__(self, lag: Gauge, position: Gauge) -> None:
        self._lag = lag
        self._position = position
        self._shown: set[TopicPartition] = set()

    def show(self, places: Mapping[TopicPartition, Place]) -> None:
        """These, and no others."""
        for gone in self._shown - set(places):
            for gauge in (self._lag, self._position):
                gauge.remove(gone.topic, str(gone.partition))
        for one, place in places.items():
            self._lag.labels(one.topic, str(one.partition)).set(place.lag)
            self._position.labels(one.topic, str(one.partition)).set(place.position)
        self._shown = set(places)
