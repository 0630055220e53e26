"""From records to verdicts. Pure."""

from __future__ import annotations

from grafana.panels import NS, Json, Panel, Query, Row, dashboard
from grafana.queries import latency, quantile, rate


def board() -> Json:
    """From records to verdicts."""
    return dashboard(
        "twinloop-detector",
        "Twinloop / Detector",
        "Where the time of a record goes between Kafka, Triton and the commit.",
        [
            Row(
                "Throughput",
                [
                    Panel(
                        "Records and windows",
                        [
                            Query(rate("twinloop_detector_records_total", "topic"), "records {{topic}}"),
                            Query(
                                rate("twinloop_detector_windows_total", "model, role"), "{{model}} {{role}}"
                            ),
                        ],
                        unit="reqps",
                    ),
                    Panel(
                        "Lag by partition",
                        [Query(f"twinloop_detector_lag_records{{{NS}}}", "{{topic}} {{partition}}")],
                        help="One partition alone: one asset sends more than the others together.",
                    ),
                    Panel(
                        "Lag, as time",
                        [Query(f"twinloop:lag:seconds{{{NS}}}", "{{topic}}")],
                        unit="s",
                        bad=30,
                    ),
                ],
            ),
            Row(
                "Time",
                [
                    Panel(
                        "Stages, p99",
                        [Query(quantile(0.99, "twinloop_detector_stage_seconds", "stage"), "{{stage}}")],
                        unit="s",
                        help="take: cutting windows. finish: models. commit: Kafka's transaction.",
                    ),
                    latency("A round", "twinloop_detector_round_seconds"),
                    latency("Inference", "twinloop_detector_infer_seconds"),
                    latency("Recovery of a partition", "twinloop_detector_recovery_seconds", bad=60.0),
                ],
            ),
            Row(
                "Trouble",
                [
                    Panel(
                        "Transactions",
                        [Query(rate("twinloop_detector_transactions_total", "outcome"), "{{outcome}}")],
                        unit="reqps",
                    ),
                    Panel(
                        "Late records",
                        [Query(rate("twinloop_detector_late_records_total", "topic"), "{{topic}}")],
                        unit="reqps",
                    ),
                    Panel(
                        "Circuits open, waiting, halted",
                        [
                            Query(f"twinloop_detector_circuit_open{{{NS}}}", "circuit {{model}}"),
                            Query(f"twinloop_detector_waiting{{{NS}}}", "waiting {{instance}}"),
                            Query(f"twinloop_detector_halted_partitions{{{NS}}}", "halted {{instance}}"),
                        ],
                    ),
                    Panel(
                        "Reconciliation",
                        [
                            Query(
                                rate("twinloop_historian_reconciliation_receipts_total", "job"), "receipts"
                            ),
                            Query(
                                rate("twinloop_historian_reconciliation_violations_total", "kind"),
                                "{{kind}}",
                            ),
                        ],
                        help="Any violation: TwinloopExactlyOnceViolation.",
                    ),
                ],
            ),
        ],
    )
