"""What modelops counts and measures. The label `model` is one in the repository, `step` one of staging."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The service's metrics, registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "twinloop_modelops_requests_total",
            "What persons asked for, by verb and by the status that they were answered.",
            ["verb", "status"],
            registry=registry,
        )
        self.staged = Counter(
            "twinloop_modelops_staged_total",
            "Artefacts by what came of them: staged, known already, or the step that refused them.",
            ["outcome"],
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "twinloop_modelops_stage_seconds",
            "How long the steps of staging took.",
            ["step"],
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60),
            registry=registry,
        )
        self.routes = Gauge(
            "twinloop_modelops_routes",
            "Routes followed: assets and signal sets with a model.",
            registry=registry,
        )
        self.trials = Gauge(
            "twinloop_modelops_trials", "Scopes with a version on trial at present.", registry=registry
        )
        self.pairs = Gauge(
            "twinloop_modelops_trial_pairs",
            "Windows on which the version on trial and the one that serves were compared, by who raised an"
            " alarm: both, serving, trial or neither; of all trials.",
            ["alarm"],
            registry=registry,
        )
        self.unpaired = Gauge(
            "twinloop_modelops_trial_unpaired",
            "Verdicts of trials whose other half did not come. Many: one of both versions lags behind or"
            " refuses windows, see `dead-letters`.",
            registry=registry,
        )
        self.decided = Counter(
            "twinloop_modelops_decided_total",
            "Trials ended without a person: stopped or promoted. The route on `models` says why.",
            ["how"],
            registry=registry,
        )
        self.sick = Gauge(
            "twinloop_modelops_sick_versions",
            "Versions that a route names and that do not answer. /health/ready says which.",
            registry=registry,
        )
        self.unreadable_versions = Gauge(
            "twinloop_modelops_unreadable_versions",
            "Versions in the repository whose contract cannot be read. /health/ready says which; their models"
            " are served as they are, and not changed.",
            registry=registry,
        )
        self.loads = Counter(
            "twinloop_modelops_loads_total",
            "Loads by what led to them: loaded (missing on Triton, or too many there), failed, and healed (a"
            " version did not answer). Many healed: a model kills its process, see Triton's log.",
            ["outcome"],
            registry=registry,
        )
        self.drift = Gauge(
            "twinloop_modelops_drift_psi",
            "Population stability of what a model sees at an asset against what it has learnt from: of the"
            " feature that has shifted most, for the hundred assets that have shifted most. Above 0.25: train"
            " anew, see `alarms`.",
            ["asset", "model"],
            registry=registry,
        )
        self.drift_left_out = Gauge(
            "twinloop_modelops_drift_left_out",
            "Verdicts whose asset's drift is not followed, because there are too many assets.",
            registry=registry,
        )
        self.unreadable = Counter(
            "twinloop_modelops_unreadable_total",
            "Records of `scores` that are none.",
            registry=registry,
        )
