"""Is all well? For whoever is called. Pure."""

from __future__ import annotations

from grafana.panels import NS, Json, Panel, Query, Row, dashboard
from grafana.queries import LAG, one, rate


def board() -> Json:
    """Is all well? For whoever is called."""
    return dashboard(
        "twinloop-overview",
        "Twinloop / Overview",
        "Objectives of docs/observability.md, what fires, and whether everything runs.",
        [
            Row(
                "Objectives",
                [
                    one(
                        "Late records, 1 h",
                        f"twinloop:late_records:ratio_rate1h{{{NS}}}",
                        unit="percentunit",
                        warn=0.01,
                        bad=0.06,
                        help="Scored later than 5 s after their producer's timestamp. Objective: 1 %.",
                    ),
                    one(
                        "Dead letters, 1 h",
                        f"twinloop:dead_lettered_records:ratio_rate1h{{{NS}}}",
                        unit="percentunit",
                        warn=0.001,
                        bad=0.006,
                        help="Objective: 0.1 %.",
                    ),
                    one(
                        "Lost or doubled, 1 d",
                        f"sum(increase(twinloop_historian_reconciliation_violations_total{{{NS}}}[1d]))",
                        bad=1,
                        help="By reconciliation. Objective: 0.",
                    ),
                    one(
                        "Part → applied, p99",
                        f"twinloop:loop:seconds_p99{{{NS}}}",
                        unit="s",
                        warn=2,
                        bad=10,
                        help="Of changes that the twin released by itself, as in AUTO. Objective: 2 s.",
                    ),
                    one(
                        "Alerts",
                        f'count(ALERTS{{alertname=~"Twinloop.*", alertstate="firing", {NS}}}) or vector(0)',
                        warn=1,
                        bad=3,
                    ),
                ],
                height=5,
            ),
            Row(
                "Stream",
                [
                    Panel(
                        "Records",
                        [
                            Query(rate("twinloop_ingest_inputs_total", "source"), "in: {{source}}"),
                            Query(
                                rate("twinloop_detector_finished_records_total", "topic"),
                                "scored: {{topic}}",
                            ),
                        ],
                        unit="reqps",
                    ),
                    LAG,
                    Panel(
                        "Dead letters",
                        [
                            Query(rate("twinloop_detector_dead_letters_total", "reason"), "d {{reason}}"),
                            Query(rate("twinloop_ingest_dead_letters_total", "reason"), "i {{reason}}"),
                        ],
                        unit="reqps",
                    ),
                ],
            ),
            Row(
                "Processes",
                [
                    Panel("Up", [Query(f"sum by (job) (up{{{NS}}})", "{{job}}")], help="How many answer."),
                    Panel(
                        "CPU",
                        [Query(rate("process_cpu_seconds_total", "job"), "{{job}}")],
                        help="Cores.",
                    ),
                    Panel(
                        "Memory",
                        [Query(f"sum by (job) (process_resident_memory_bytes{{{NS}}})", "{{job}}")],
                        unit="bytes",
                    ),
                    Panel(
                        "Rebalances",
                        [
                            Query(f"increase(twinloop_{one}_rebalances_total{{{NS}}}[15m])", one)
                            for one in ("detector", "controller", "twin", "line", "historian")
                        ],
                        help="Within 15 minutes. More than a few: TwinloopRebalanceStorm.",
                    ),
                ],
            ),
        ],
    )
