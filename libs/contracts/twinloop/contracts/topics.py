"""Every topic as one frozen value. Provisioning, the chart's topics and docs/topics.md are made of these."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Format(StrEnum):
    """How a topic's values are encoded."""

    PROTOBUF = "application/protobuf"
    JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic and the promises that its readers rely on.

    `key` names the event field that becomes the record key: records of one key keep their order.
    Topics that one service joins have equal partition counts, so equal keys share a partition number.
    `retention_h` of `None` keeps records for ever (compacted topics keep the newest per key).
    """

    name: str
    key: str
    format: Format
    partitions: int
    retention_h: int | None
    compacted: bool = False
    meaning: str = ""

    def named(self, prefix: str) -> str:
        """The topic's name on the cluster; `prefix` separates sites, tenants and test runs."""
        return prefix + self.name


TELEMETRY_PARTITIONS = 12
EVENT_PARTITIONS = 6

TELEMETRY_FACTORY = Topic(
    "telemetry.factory",
    "asset",
    Format.PROTOBUF,
    TELEMETRY_PARTITIONS,
    retention_h=72,
    meaning="Sensor frames of stations and machines.",
)
TELEMETRY_VEHICLE = Topic(
    "telemetry.vehicle",
    "asset",
    Format.PROTOBUF,
    TELEMETRY_PARTITIONS,
    retention_h=72,
    meaning="Sensor frames of vehicles, under their pseudonyms.",
)
GENEALOGY = Topic(
    "genealogy",
    "asset",
    Format.JSON,
    EVENT_PARTITIONS,
    retention_h=None,
    meaning="What was built where, when, with which settings, and what it measured at end of line: joints, "
    "and the vehicles that they went into.",
)
FIELD_EVIDENCE = Topic(
    "field-evidence",
    "asset",
    Format.JSON,
    EVENT_PARTITIONS,
    retention_h=None,
    meaning="What vehicles tell about their joints, and the stations and build windows that it points at.",
)
ANOMALIES = Topic(
    "anomalies",
    "asset",
    Format.JSON,
    EVENT_PARTITIONS,
    retention_h=24 * 30,
    meaning="Windows that a model judged anomalous.",
)
SCORES = Topic(
    "scores",
    "asset",
    Format.JSON,
    EVENT_PARTITIONS,
    retention_h=24,
    meaning="Verdicts on windows, anomalous or not; a sample of them when the rate is high.",
)
CHANGES = Topic(
    "changes",
    "asset",
    Format.JSON,
    EVENT_PARTITIONS,
    retention_h=None,
    meaning="One ordered log per asset: every change, each state that it went through, and the modes, "
    "stops and overrides that govern it.",
)
ALARMS = Topic(
    "alarms",
    "asset",
    Format.JSON,
    EVENT_PARTITIONS,
    retention_h=24 * 30,
    meaning="What a person must look at: a gap, a worn window, a change without effect.",
)
AUDIT = Topic(
    "audit",
    "chain",
    Format.JSON,
    EVENT_PARTITIONS,
    retention_h=None,
    meaning="Copies of the audit stores' entries, each chain in order: who did what, when and why.",
)
MODELS = Topic(
    "models",
    "scope",
    Format.JSON,
    1,
    retention_h=None,
    compacted=True,
    meaning="Which model version serves which asset or signal set.",
)
MODEL_MEMORY = Topic(
    "model-memory",
    "key",
    Format.JSON,
    TELEMETRY_PARTITIONS,
    retention_h=24 * 30,
    compacted=True,
    meaning="What recurrent models remember of each asset, by the partition of its telemetry: written "
    "with the verdicts that it came with, and read by the partition's next owner.",
)
DEAD_LETTERS = Topic(
    "dead-letters",
    "reason",
    Format.JSON,
    EVENT_PARTITIONS,
    retention_h=24 * 30,
    meaning="Input that was refused: its bytes, where it came from, and why.",
)
RECEIPTS = Topic(
    "receipts",
    "origin",
    Format.JSON,
    EVENT_PARTITIONS,
    retention_h=24 * 7,
    meaning="Of each transaction of a detector, what it took and what it gave: reconciled by the historian.",
)

ALL: tuple[Topic, ...] = (
    TELEMETRY_FACTORY,
    TELEMETRY_VEHICLE,
    GENEALOGY,
    FIELD_EVIDENCE,
    ANOMALIES,
    SCORES,
    CHANGES,
    ALARMS,
    AUDIT,
    MODELS,
    MODEL_MEMORY,
    DEAD_LETTERS,
    RECEIPTS,
)
