"""The slow loop. Pure."""

from __future__ import annotations

from grafana.panels import NS, Json, Panel, Query, Row, dashboard
from grafana.queries import VEHICLES, latency, rate


def board() -> Json:
    """The slow loop: what vehicles tell about the stations that built them."""
    return dashboard(
        "twinloop-vehicles",
        "Twinloop / Vehicles",
        "Telemetry of vehicles, and what it says of the stations that built them.",
        [
            Row(
                "Telemetry",
                [
                    Panel(
                        "Minutes of driving",
                        [
                            Query(
                                rate(
                                    "twinloop_detector_finished_records_total",
                                    "topic",
                                    'topic=~".*telemetry.vehicle"',
                                )
                            )
                        ],
                        unit="reqps",
                    ),
                    Panel(
                        "Lag",
                        [Query(f"sum by (topic) (twinloop:lag:records{{{VEHICLES}, {NS}}})")],
                    ),
                    Panel(
                        "Inputs by fate",
                        [
                            Query(
                                rate("twinloop_ingest_inputs_total", "fate", 'source="vehicles"'), "{{fate}}"
                            )
                        ],
                        unit="reqps",
                    ),
                ],
            ),
            Row(
                "Evidence",
                [
                    Panel(
                        "Vehicles known",
                        [Query(f"max(twinloop_controller_field_vehicles{{{NS}}})")],
                        kind="stat",
                    ),
                    Panel(
                        "Findings, 30 d",
                        [Query(f"sum(increase(twinloop_controller_field_findings_total{{{NS}}}[30d]))")],
                        kind="stat",
                    ),
                    Panel(
                        "Joints outside of the windows",
                        [Query(f"max(twinloop_controller_field_joints_outside{{{NS}}})")],
                        kind="stat",
                        help="No finding will name them: a new grid of build windows is due.",
                    ),
                    Panel(
                        "Published",
                        [Query(rate("twinloop_controller_field_published_total", "event"), "{{event}}")],
                        unit="reqps",
                    ),
                ],
                height=6,
            ),
            Row(
                "Work",
                [
                    Panel(
                        "Records read, by fate",
                        [Query(rate("twinloop_controller_field_records_total", "fate"), "{{fate}}")],
                        unit="reqps",
                    ),
                    latency("A look at all evidence", "twinloop_controller_field_look_seconds"),
                    Panel(
                        "Failures and retries",
                        [
                            Query(
                                f"sum(increase(twinloop_controller_field_failures_total{{{NS}}}[1h]))",
                                "failures",
                            ),
                            Query(
                                f"sum(increase(twinloop_controller_field_publish_retries_total{{{NS}}}[1h]))",
                                "retries",
                            ),
                        ],
                    ),
                ],
            ),
        ],
    )
