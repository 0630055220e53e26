"""Events between services, apart from changes (`twinloop.contracts.changes`).

Each carries `event_id` (deterministic), `caused_by` (the id of the event that led to it), `trace_id` and
`observed_at` (when the source saw what started it). Times are UTC.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from twinloop.contracts.times import Instant


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What every event carries. `at` is when its writer made it."""

    event_id: str
    asset: str
    at: Instant
    observed_at: Instant
    trace_id: str
    caused_by: str | None = None


class JointWelded(Event, frozen=True, kw_only=True, tag="joint_welded"):
    """A station made a joint: what the build genealogy knows of it.

    `sequence` is the part counter, equal to the sequence of the part's telemetry frame.
    `resistance_uohm` is the four-wire measurement at end of line; the setpoints are those in force
    while the part was made. `limit_uohm` is the quality gate that was in force: a `rejected` joint measured
    more, is scrap, and is built into no vehicle.
    """

    part_id: str
    sequence: int
    recipe: str
    resistance_uohm: float
    power_w: float
    focus_mm: float
    limit_uohm: float = 55.0
    rejected: bool = False


class Verdict(Event, frozen=True, kw_only=True, tag="verdict"):
    """A model's verdict on one window. `sequence` is that of the window's last frame, `row` the index of the
    window's last sample in that frame; `features` are the window's, by name. `model_digest` is the SHA-256
    (hex) of the model's ONNX file, `input_digest` that of the window. The verdict of a model which does not
    decide is to be compared with."""

    signal_set: str
    part_id: str
    sequence: int
    row: int
    score: float
    threshold: float
    anomalous: bool
    model: str
    model_version: int
    model_digest: str = ""
    input_digest: str
    decides: bool = True
    features: dict[str, float] = {}


class Anomaly(Event, frozen=True, kw_only=True, tag="anomaly"):
    """An anomalous window. `features` are physical quantities of the window by name
    (`oct_depth_mm.mean`), `deviations` the same in standard deviations from the model's reference. The
    digests are those of its `Verdict`."""

    signal_set: str
    part_id: str
    sequence: int
    row: int
    score: float
    threshold: float
    features: dict[str, float]
    deviations: dict[str, float]
    model: str
    model_version: int
    model_digest: str = ""
    input_digest: str


class AlarmCode(StrEnum):
    """What an alarm is about."""

    GAP = "gap"
    SCRAP = "scrap"
    WINDOW_MAINTENANCE = "window_maintenance"
    FOCUS_MAINTENANCE = "focus_maintenance"
    NO_EFFECT = "no_effect"
    CHANGE_FAILED = "change_failed"
    PERSON_NEEDED = "person_needed"
    MODE_SHED = "mode_shed"
    INPUT_INVALID = "input_invalid"
    ROLLED_BACK = "rolled_back"
    FORGED_COMMAND = "forged_command"
    WATCHDOG = "watchdog"
    OVERRIDDEN = "overridden"
    KILL_SWITCH = "kill_switch"
    AUDIT_AWAY = "audit_away"
    TWIN_DRIFT = "twin_drift"
    MODEL_DRIFT = "model_drift"
    FIELD_EVIDENCE = "field_evidence"


class Alarm(Event, frozen=True, kw_only=True, tag="alarm"):
    """Something that a person must look at; `text` says what was seen and what to do."""

    code: AlarmCode
    text: str
