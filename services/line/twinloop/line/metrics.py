"""What `line` counts and measures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The service's metrics, registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.changes = Counter(
            "twinloop_line_changes_total",
            "Change events published, by state: issued, applied, failed or expired.",
            ["state"],
            registry=registry,
        )
        self.failures = Counter(
            "twinloop_line_failures_total",
            "Changes that failed, by who refused: a guard of ours, plc, read_back or outcome. The last two "
            "need a person: compare the device with what is wanted. envelope: look at the alarms.",
            ["guard"],
            registry=registry,
        )
        self.alarms = Counter(
            "twinloop_line_alarms_total", "Alarms raised, by code.", ["code"], registry=registry
        )
        self.sheds = Counter(
            "twinloop_line_mode_sheds_total",
            "Modes shed to shadow, by the code of the alarm: watchdog, audit_away, mode_shed (a restart).",
            ["code"],
            registry=registry,
        )
        for code in (
            "watchdog",
            "audit_away",
            "mode_shed",
        ):  # from 0 on: what comes first is an increase, too
            self.sheds.labels(code)
        self.illegal = Gauge(
            "twinloop_line_illegal_controls",
            "Control events in the log that did not follow from what was in force. Growing: somebody writes "
            "them who should not.",
            registry=registry,
        )
        self.unaudited = Counter(
            "twinloop_line_unaudited_total",
            "What was said and could not be written down: refusals and outcomes while the store was away.",
            registry=registry,
        )
        self.killed = Gauge(
            "twinloop_line_killed",
            "1 while the kill switch is in force here.",
            ["station"],
            registry=registry,
        )
        self.control = Gauge(
            "twinloop_line_control", "1 while this service has control.", ["station"], registry=registry
        )
        self.missed_beats = Counter(
            "twinloop_line_missed_beats_total",
            "Requests of the heartbeat that the device did not take: beat, take or release.",
            ["station", "kind"],
            registry=registry,
        )
        self.foreign = Gauge(
            "twinloop_line_foreign_changes",
            "Released changes of assets that the file of limits does not name: another line's, or a table "
            "is missing. They are left alone.",
            registry=registry,
        )
        self.dead_letters = Counter(
            "twinloop_line_dead_letters_total",
            "Records of `changes` that are none. Look at `dead-letters`.",
            registry=registry,
        )
        self.loop_seconds = Histogram(
            "twinloop_line_loop_seconds",
            "From the observed part to the applied change, read back: the loop's latency. By its approver:"
            " policy (as in AUTO), or person, who takes his time.",
            ["approver"],
            buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
            registry=registry,
        )
        for approver in ("policy", "person"):  # from 0 on: what comes first is an increase, too
            self.loop_seconds.labels(approver)
        self.plc_seconds = Histogram(
            "twinloop_line_plc_seconds",
            "One OPC UA request, by kind: read, command, control or heartbeat.",
            ["kind"],
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2),
            registry=registry,
        )
        self.plc_connected = Gauge(
            "twinloop_line_plc_connected", "1 while there is a session with the PLC.", registry=registry
        )
