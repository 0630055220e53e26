"""Models and Triton. Pure."""

from __future__ import annotations

from grafana.panels import NS, Json, Panel, Query, Row, dashboard
from grafana.queries import DECIDING, quantile, rate


def board() -> Json:
    """Models and Triton."""
    return dashboard(
        "twinloop-models",
        "Twinloop / Models",
        "What serves, what is on trial, and how Triton keeps up.",
        [
            Row(
                "Triton",
                [
                    Panel(
                        "Requests",
                        [
                            Query(
                                rate("nv_inference_request_success", "model, version"),
                                "{{model}}:{{version}}",
                            ),
                            Query(
                                rate("nv_inference_request_failure", "model, reason"),
                                "failed {{model}} {{reason}}",
                            ),
                        ],
                        unit="reqps",
                    ),
                    Panel(
                        "Queue, a request",
                        [
                            Query(
                                f"{rate('nv_inference_queue_duration_us', 'model')}"
                                f" / {rate('nv_inference_request_success', 'model')} / 1e6",
                                "{{model}}",
                            )
                        ],
                        unit="s",
                        bad=0.1,
                    ),
                    Panel(
                        "Computing, a window",
                        [
                            Query(
                                f"{rate('nv_inference_compute_infer_duration_us', 'model')}"
                                f" / {rate('nv_inference_count', 'model')} / 1e6",
                                "{{model}}",
                            )
                        ],
                        unit="s",
                    ),
                    Panel(
                        "GPU",
                        [
                            Query(f"nv_gpu_utilization{{{NS}}}", "busy {{gpu_uuid}}"),
                            Query(
                                f"nv_gpu_memory_used_bytes{{{NS}}} / nv_gpu_memory_total_bytes{{{NS}}}",
                                "memory {{gpu_uuid}}",
                            ),
                        ],
                        unit="percentunit",
                        help="Empty without a GPU.",
                    ),
                ],
            ),
            Row(
                "Verdicts",
                [
                    Panel(
                        "Share of anomalous windows",
                        [
                            Query(
                                f"{rate('twinloop_detector_anomalies_total', 'model')}"
                                f" / {rate('twinloop_detector_windows_total', 'model', DECIDING)}",
                                "{{model}}",
                            )
                        ],
                        unit="percentunit",
                    ),
                    Panel(
                        "Windows in a request",
                        [
                            Query(quantile(0.5, "twinloop_detector_batch_windows"), "p50"),
                            Query(quantile(0.99, "twinloop_detector_batch_windows"), "p99"),
                        ],
                    ),
                    Panel(
                        "Drift (PSI)",
                        [Query(f"twinloop_modelops_drift_psi{{{NS}}}", "{{asset}} {{model}}")],
                        bad=0.25,
                        help="Of what a model sees against what it has learnt from. Above 0.25: train anew.",
                    ),
                ],
            ),
            Row(
                "Life",
                [
                    Panel("Routes", [Query(f"twinloop_modelops_routes{{{NS}}}", "routes")], kind="stat"),
                    Panel("Trials", [Query(f"twinloop_modelops_trials{{{NS}}}", "trials")], kind="stat"),
                    Panel(
                        "Sick versions",
                        [Query(f"twinloop_modelops_sick_versions{{{NS}}}", "sick")],
                        kind="stat",
                        bad=1,
                    ),
                    Panel(
                        "Loads",
                        [
                            Query(
                                f"sum by (outcome) (increase(twinloop_modelops_loads_total{{{NS}}}[1h]))",
                                "{{outcome}}",
                            )
                        ],
                    ),
                ],
                height=6,
            ),
        ],
    )
