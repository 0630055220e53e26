"""From an anomaly to the machine. Pure."""

from __future__ import annotations

from grafana.panels import NS, Json, Panel, Query, Row, dashboard
from grafana.queries import latency, quantile, rate, within


def board() -> Json:
    """From an anomaly to the machine."""
    return dashboard(
        "twinloop-loop",
        "Twinloop / Loop",
        "Findings, changes and their fate, modes, and the link to the PLC.",
        [
            Row(
                "Changes",
                [
                    Panel(
                        "Proposed to verified",
                        [
                            Query(rate("twinloop_controller_changes_total", "state"), "{{state}}"),
                            Query(rate("twinloop_twin_changes_total", "state"), "{{state}}"),
                            Query(rate("twinloop_line_changes_total", "state"), "{{state}}"),
                        ],
                        unit="reqps",
                    ),
                    Panel(
                        "Findings",
                        [Query(rate("twinloop_controller_findings_total", "diagnosis"), "{{diagnosis}}")],
                        unit="reqps",
                    ),
                    Panel(
                        "Refusals, by guard",
                        [
                            Query(
                                rate("twinloop_controller_refusals_total", "guard"), "controller {{guard}}"
                            ),
                            Query(rate("twinloop_twin_refusals_total", "guard"), "twin {{guard}}"),
                            Query(rate("twinloop_line_failures_total", "guard"), "line {{guard}}"),
                        ],
                        unit="reqps",
                    ),
                ],
            ),
            Row(
                "Time",
                [
                    latency("Anomaly → proposal", "twinloop_controller_proposal_seconds"),
                    latency("Forecast", "twinloop_twin_forecast_seconds"),
                    latency("Part → applied", "twinloop_line_loop_seconds", bad=2.0),
                    Panel(
                        "PLC, p99",
                        [Query(quantile(0.99, "twinloop_line_plc_seconds", "kind"), "{{kind}}")],
                        unit="s",
                    ),
                ],
            ),
            Row(
                "Who may act",
                [
                    Panel(
                        "Control, kill switch, PLC",
                        [
                            Query(f"twinloop_line_control{{{NS}}}", "control {{station}}"),
                            Query(f"twinloop_line_killed{{{NS}}}", "killed {{station}}"),
                            Query(f"twinloop_line_plc_connected{{{NS}}}", "PLC"),
                        ],
                    ),
                    Panel(
                        "Modes shed, alarms",
                        [
                            Query(
                                within(
                                    "twinloop_controller_modes_total", "15m", matchers='event="mode_shed"'
                                ),
                                "shed by the controller",
                            ),
                            Query(
                                f"sum by (code) (increase(twinloop_line_mode_sheds_total{{{NS}}}[15m]))",
                                "shed by line: {{code}}",
                            ),
                            Query(
                                f"sum by (code) (increase(twinloop_controller_alarms_total{{{NS}}}[15m]))",
                                "alarm {{code}}",
                            ),
                        ],
                        help="Within 15 minutes.",
                    ),
                    Panel(
                        "Forecasts come true",
                        [Query(f"twinloop_twin_forecast_coverage_ratio{{{NS}}}", "{{asset}}")],
                        unit="percentunit",
                    ),
                    Panel(
                        "Audit stores",
                        [
                            Query(f"twinloop_{one}_audit_{what}{{{NS}}}", f"{one} {what}")
                            for one in ("controller", "twin", "line", "modelops")
                            for what in ("away", "broken")
                        ],
                        bad=1,
                    ),
                ],
            ),
        ],
    )
