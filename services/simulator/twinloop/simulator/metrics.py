"""What the simulator counts and measures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The service's metrics, registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.welds = Counter(
            "twinloop_simulator_welds_total",
            "Parts made, by station.",
            ["station"],
            registry=registry,
        )
        self.weld_seconds = Histogram(
            "twinloop_simulator_weld_seconds",
            "Time to compute one weld of every station. Above 1/rate the pace cannot be kept.",
            buckets=(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1),
            registry=registry,
        )
        self.behind_seconds = Gauge(
            "twinloop_simulator_behind_seconds",
            "How late the latest weld was. Growing: the machine is too slow for the campaign's rate.",
            registry=registry,
        )
        self.commands = Counter(
            "twinloop_simulator_commands_total",
            "Calls of PLC methods, by station, method and the status code of the answer, or Unanswered.",
            ["station", "method", "code"],
            registry=registry,
        )
        self.messages = Counter(
            "twinloop_simulator_messages_total",
            "Sparkplug messages by fate: sent, or lost because too many were stored, or for too long.",
            ["fate"],
            registry=registry,
        )
        self.stored_parts = Gauge(
            "twinloop_simulator_stored_parts",
            "Parts that wait to be sent. Growing: no broker, the primary host is away, or more parts are made"
            " than stored ones are sent.",
            registry=registry,
        )
        self.historical = Counter(
            "twinloop_simulator_historical_total",
            "Parts sent afterwards: they were stored, or may have been lost when they were sent.",
            registry=registry,
        )
        self.vehicles = Counter(
            "twinloop_simulator_vehicles_total",
            "Vehicles told to ingest, by its answer: accepted or refused.",
            ["answer"],
            registry=registry,
        )
        self.minutes = Counter(
            "twinloop_simulator_minutes_total",
            "Minutes of driving that vehicles have sent over MQTT.",
            registry=registry,
        )
        self.births = Counter(
            "twinloop_simulator_births_total",
            "Births sent, by cause: a new connection, the primary host came, or a host's rebirth command.",
            ["cause"],
            registry=registry,
        )
