"""The historian's metrics. Labels: `topic` is one of the seven that it keeps."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from twinloop.historian.reconcile import Kind


class Metrics:
    """Declared once a process, on the registry that `/metrics` serves."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "twinloop_historian_records_total", "Records written to files.", ["topic"], registry=registry
        )
        self.files = Counter("twinloop_historian_files_total", "Files written.", ["topic"], registry=registry)
        self.file_bytes = Counter(
            "twinloop_historian_file_bytes_total", "Size of the files written.", ["topic"], registry=registry
        )
        self.undecodable = Counter(
            "twinloop_historian_undecodable_total",
            "Records kept as raw bytes because they are none of their topic. Look at their publisher.",
            ["topic"],
            registry=registry,
        )
        self.lost_to_retention = Counter(
            "twinloop_historian_lost_to_retention_total",
            "Offsets that Kafka had deleted before they were read. Above 0: the historian was away for "
            "longer than the topic's retention.",
            ["topic"],
            registry=registry,
        )
        self.elsewhere = Counter(
            "twinloop_historian_written_elsewhere_total",
            "Records not written because another member of the group had. Often above 0: members lose their "
            "partitions without noticing; look for long pauses.",
            ["topic"],
            registry=registry,
        )
        self.failures = Counter(
            "twinloop_historian_write_failures_total",
            "Attempts to write a file that failed; they are repeated. Look for a full disk.",
            registry=registry,
        )
        self.write_seconds = Histogram(
            "twinloop_historian_write_seconds",
            "Time to write, sync and rename a file.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=registry,
        )
        self.waiting = Gauge(
            "twinloop_historian_waiting_records",
            "Records read that wait for their file. After a crash they are read again.",
            registry=registry,
        )
        self.violations = Counter(
            "twinloop_historian_reconciliation_violations_total",
            "Records and outputs of detectors that are missing (records_lost, outputs_lost) or there more"
            " than once (records_repeated, outputs_repeated). Must be 0: the log names what and where.",
            ["kind"],
            registry=registry,
        )
        for kind in Kind:  # from 0 on: what comes first is an increase, too
            self.violations.labels(kind)
        self.reconciled = Counter(
            "twinloop_historian_reconciliation_receipts_total",
            "Transactions of detectors that were reconciled.",
            registry=registry,
        )
        self.open_receipts = Gauge(
            "twinloop_historian_reconciliation_open_receipts",
            "Transactions that are younger than the time that their outputs are given to be readable.",
            registry=registry,
        )
        self.reconciled_at = Gauge(
            "twinloop_historian_reconciliation_timestamp_seconds",
            "When the reconciliation last knew all that was committed. Standing still: nobody would notice a"
            " loss.",
            registry=registry,
        )
