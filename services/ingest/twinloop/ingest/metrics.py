"""What ingest counts and measures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from twinloop.contracts.deadletters import Reason


class Metrics:
    """The service's metrics, registered once in `registry`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.inputs = Counter(
            "twinloop_ingest_inputs_total",
            "Messages and items by source (mqtt, http, vehicles) and by what came of them"
            " (frame, vehicle_built, no_telemetry, duplicate, dead_letter).",
            ["source", "fate"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "twinloop_ingest_dead_letters_total",
            "Refused input by reason. Look at the records of `dead-letters` and mend their sender.",
            ["reason"],
            registry=registry,
        )
        for reason in Reason:  # from 0 on: what comes first is an increase, too
            self.dead_letters.labels(reason)
        self.rebirth_requests = Counter(
            "twinloop_ingest_rebirth_requests_total",
            "Births asked of edge nodes. A steady rate: a node that does not answer, or loses messages.",
            registry=registry,
        )
        self.delay_seconds = Histogram(
            "twinloop_ingest_delay_seconds",
            "From the end of the frame at its source to its acknowledgement by Kafka.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600, 3600),
            registry=registry,
        )
        self.publish_seconds = Histogram(
            "twinloop_ingest_publish_seconds",
            "From handing a group of records to Kafka to its acknowledgement.",
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
            registry=registry,
        )
        self.queue_bytes = Gauge(
            "twinloop_ingest_queue_bytes",
            "What waits between MQTT and Kafka. Near its limit: Kafka is slow or away.",
            registry=registry,
        )
        self.queue_pauses = Counter(
            "twinloop_ingest_queue_pauses_total",
            "How often reading from MQTT was paused because the inbox was full.",
            registry=registry,
        )
        self.mqtt_disconnects = Counter(
            "twinloop_ingest_mqtt_disconnects_total",
            "Connections to the MQTT broker lost or refused.",
            registry=registry,
        )
