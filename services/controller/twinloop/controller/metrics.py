"""What the controller counts and measures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram


class Metrics:
    """The service's metrics, registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter(
            "twinloop_controller_records_total",
            "Records read, by topic and fate: folded, ignored (see ..._ignored_total), vehicle (of none) "
            "or dead_letter.",
            ["topic", "fate"],
            registry=registry,
        )
        self.ignored = Counter(
            "twinloop_controller_ignored_total",
            "Events that changed nothing: repeated, late, foreign (no change of ours) or illegal (does not "
            "follow from what is in force, or from the change's state). Repeats are normal after a restart; "
            "illegal is one that something overtook, such as an entry into a mode that was just shed.",
            ["why"],
            registry=registry,
        )
        self.findings = Counter(
            "twinloop_controller_findings_total",
            "Anomalous windows by diagnosis. Many unknown: the signatures do not fit this process.",
            ["diagnosis"],
            registry=registry,
        )
        self.refusals = Counter(
            "twinloop_controller_refusals_total",
            "Proposals not made, by the guard that objected.",
            ["guard"],
            registry=registry,
        )
        for guard in ("authority", "hourly_travel"):  # from 0 on: what comes first is an increase, too
            self.refusals.labels(guard)
        self.field_findings = Counter(
            "twinloop_controller_field_findings_total",
            "Findings of the slow loop that a station was told of. Each has an alarm.",
            registry=registry,
        )
        self.would_propose = Counter(
            "twinloop_controller_would_propose_total",
            "Changes that would have been proposed if the asset were not in shadow.",
            registry=registry,
        )
        self.bad_input = Counter(
            "twinloop_controller_bad_input_total",
            "Parts whose input was bad: quality, age, range, jump, frozen or missing. Look at the sensor, or "
            "at what lies between it and here.",
            ["what"],
            registry=registry,
        )
        self.modes = Counter(
            "twinloop_controller_modes_total",
            "Mode events published: mode_entered, mode_refused, mode_shed. Each shed has an alarm.",
            ["event"],
            registry=registry,
        )
        for event in ("mode_entered", "mode_refused", "mode_shed"):
            self.modes.labels(event)
        self.unaudited = Counter(
            "twinloop_controller_unaudited_total",
            "Refusals and sheds that are not in the audit store, because it was away. Must be 0.",
            registry=registry,
        )
        self.changes = Counter(
            "twinloop_controller_changes_total",
            "Change events published, by state. Inconclusive ones need a person.",
            ["state"],
            registry=registry,
        )
        self.alarms = Counter(
            "twinloop_controller_alarms_total", "Alarms published, by code.", ["code"], registry=registry
        )
        self.given_up = Counter(
            "twinloop_controller_given_up_total",
            "Changes that nobody finished in time, by the state they stopped in. Approved: is line running?",
            ["state"],
            registry=registry,
        )
        self.publish_retries = Counter(
            "twinloop_controller_publish_retries_total",
            "Attempts to publish that failed and were made again. Growing: Kafka does not acknowledge.",
            registry=registry,
        )
        self.states_lost = Counter(
            "twinloop_controller_states_lost_total",
            "Stations begun anew because their remembered state could not be read. Must be 0.",
            registry=registry,
        )
        self.proposal_seconds = Histogram(
            "twinloop_controller_proposal_seconds",
            "From the detector's anomaly to the acknowledged proposal.",
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
            registry=registry,
        )
