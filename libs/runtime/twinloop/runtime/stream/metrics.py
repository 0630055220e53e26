"""What the engine counts and measures, under the name of the service that it works for."""

from __future__ import annotations

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Outcome(StrEnum):
    """How a transaction ended."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    FENCED = "fenced"


class StreamMetrics:
    """`twinloop_<service>_*`, registered once in `registry`. `topic` is an input topic."""

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        name = f"twinloop_{service}"
        self.records = Counter(f"{name}_records_total", "Records taken.", ["topic"], registry=registry)
        self.finished = Counter(
            f"{name}_finished_records_total",
            "Records that are done: what comes of them is committed.",
            ["topic"],
            registry=registry,
        )
        self.late = Counter(
            f"{name}_late_records_total",
            "Of the finished ones, those that were done more than 5 s after their producer's timestamp.",
            ["topic"],
            registry=registry,
        )
        self.transactions = Counter(
            f"{name}_transactions_total",
            "Transactions by outcome. fenced: another member took the partition; aborted: see the log.",
            ["outcome"],
            registry=registry,
        )
        self.stage_seconds = Histogram(
            f"{name}_stage_seconds",
            "Time of one round in a stage: take (windows), finish (models, events), commit (transactions).",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.round_seconds = Histogram(
            f"{name}_round_seconds",
            "From the poll to the committed transactions.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.recovery_seconds = Histogram(
            f"{name}_recovery_seconds",
            "From a partition's assignment until its state is rebuilt.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.partitions = Gauge(f"{name}_partitions", "Partitions that are open here.", registry=registry)
        self.halted = Gauge(
            f"{name}_halted_partitions",
            "Partitions that wait for a person: /health/ready says why.",
            registry=registry,
        )
        self.waiting = Gauge(
            f"{name}_waiting",
            "1 while work waits to be tried again; partitions are paused. /health/ready says for what.",
            registry=registry,
        )
        for outcome in Outcome:
            self.transactions.labels(outcome)
