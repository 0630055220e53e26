"""What a device says of a part, made into a frame and a joint. Pure.

A weld arrives as one DDATA with these metrics:

    Signals/Set             String        the signal set, such as weld.v1
    Signals/<name>          FloatArray    one per signal of the set, all of one length
    Part/Id                 String
    Part/Counter            UInt64        becomes the frame's sequence
    Part/WeldedAt           DateTime      of the first sample, milliseconds since 1970
    Part/SamplePeriodUs     UInt32        between samples, microseconds
    Part/Resistance         Double        micro-ohm, four-wire, at end of line; makes it a joint
    Setpoint/Power          Double        W, in force while the part was made
    Setpoint/Focus          Double        mm
    Setpoint/EndOfLineLimit Double        micro-ohm, the quality gate in force; may be absent
    Part/Rejected           Boolean       it measured more and is scrap; may be absent
    Recipe                  String

Metrics that rarely change (`STEADY`) may be left out while they keep their value, as Sparkplug has it. A part
that is told of afterwards, `is_historical`, has the time of its metrics instead of the message's, is taken
however old it is, and must have all of them: what is steady now need not have been in force then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinloop.contracts.codec import Message, frame_message, message
from twinloop.contracts.deadletters import Reason
from twinloop.contracts.events import JointWelded
from twinloop.contracts.frames import Frame
from twinloop.contracts.ids import event_id, trace_id
from twinloop.contracts.times import unix_ns, utc
from twinloop.contracts.topics import GENEALOGY
from twinloop.ingest.errors import Refused
from twinloop.ingest.signal_sets import Kind, SignalSet, SignalSets
from twinloop.ingest.values import Values, flag, number, text, whole
from twinloop.sparkplug import Value

SERVICE = "ingest"
MAX_SAMPLE_BYTES = 4 * 1024 * 1024
MAX_NAME_CHARS = 256
LAST_NS = 9_183_110_400_000_000_000  # 2261-01-01; signed 64-bit nanoseconds end a year later
_LONGEST_PERIOD_NS = 86_400_000_000_000
_LIMIT_UOHM = 55.0  # of a station that does not tell its gate
_SET = "Signals/Set"
_SIGNAL = "Signals/"
STEADY = frozenset(
    {
        _SET,
        "Part/SamplePeriodUs",
        "Setpoint/Power",
        "Setpoint/Focus",
        "Setpoint/EndOfLineLimit",
        "Recipe",
    }
)
"""Metrics whose last value counts while they are not sent."""


@dataclass(frozen=True, slots=True)
class Normalized:
    """A frame ready to be published, with the joint that it belongs to where there is one."""

    frame: Frame
    kind: Kind
    joint: JointWelded | None = None

    def messages(self) -> list[Message]:
        """The records to publish."""
        records = [frame_message(self.kind.topic, self.frame, source=SERVICE)]
        if self.joint is not None:
            records.append(message(GENEALOGY, self.joint, source=SERVICE))
        return records


@dataclass(frozen=True, slots=True)
class Ages:
    """How old, and how far ahead of this clock, an event may be when it arrives."""

    max_age_s: float
    max_ahead_s: float
    vehicle_max_age_s: float | None = None
    """Of vehicles, which may have been out of reach for long; `None`: as old as everything else."""

    def check(
        self, frame: Frame, now: datetime, kind: Kind = Kind.FACTORY, *, historical: bool = False
    ) -> None:
        """Raises `Refused` with `too_old` or `in_future`; every sample and the observation count.

        What is `historical` by its own account is never too old.
        """
        of_vehicles = self.vehicle_max_age_s if kind is Kind.VEHICLE else None
        max_age_s = self.max_age_s if of_vehicles is None else of_vehicles
        now_ns = unix_ns(now)
        ahead_s = (max(frame.observed_at_ns, last_at_ns(frame)) - now_ns) / 1e9
        if ahead_s > self.max_ahead_s:
            raise Refused(
                Reason.IN_FUTURE, f"{ahead_s:.0f} s ahead of this clock, at most {self.max_ahead_s:g} s"
            )
        age_s = (now_ns - min(frame.observed_at_ns, frame.first_at_ns)) / 1e9
        if age_s > max_age_s and not historical:
            raise Refused(Reason.TOO_OLD, f"{age_s:.0f} s old, at most {max_age_s:g} s")


def last_at_ns(frame: Frame) -> int:
    """When the last sample was taken."""
    return frame.first_at_ns + (len(frame.samples) - 1) * frame.period_ns


def is_telemetry(present: Values) -> bool:
    """True when a device's message is about a part or samples, and not only about its state."""
    return "Part/Counter" in present or any(
        name.startswith(_SIGNAL) and name != _SET and value is not None for name, value in present.items()
    )


def part_made(
    asset: str,
    at_ms: int,
    values: Values,
    sets: SignalSets,
    ages: Ages,
    now: datetime,
    *,
    historical: bool = False,
) -> Normalized:
    """The frame and the joint in a device's message; `values` include the steady ones not sent again.

    `at_ms` is the end of the part at its source. Raises `Refused`.
    """
    signal_set = sets.find(text(values, _SET), Kind.FACTORY)
    signals = {
        name.removeprefix(_SIGNAL): value
        for name, value in values.items()
        if name.startswith(_SIGNAL) and name != _SET and value is not None
    }
    frame = frame_of(
        asset=asset,
        signal_set=signal_set,
        sequence=whole(values, "Part/Counter"),
        first_at_ns=whole(values, "Part/WeldedAt") * 1_000_000,
        period_ns=whole(values, "Part/SamplePeriodUs") * 1000,
        samples=stack(signal_set, signals),
        observed_at_ns=at_ms * 1_000_000,
        part_id=text(values, "Part/Id") if values.get("Part/Id") is not None else "",
    )
    ages.check(frame, now, historical=historical)
    joint = _joint(frame, values, now) if values.get("Part/Resistance") is not None else None
    return Normalized(frame, signal_set.kind, joint)


def frame_of(
    *,
    asset: str,
    signal_set: SignalSet,
    sequence: int,
    first_at_ns: int,
    period_ns: int,
    samples: NDArray[np.float32],
    observed_at_ns: int,
    part_id: str = "",
    offsets_ns: NDArray[np.uint64] | None = None,
) -> Frame:
    """A checked frame with its deterministic ids. Raises `Refused` where a value cannot be carried.

    `offsets_ns` (uint64 [time]) instead of a period, where samples are not equally spaced.
    """
    if not asset or len(asset) > MAX_NAME_CHARS or len(part_id) > MAX_NAME_CHARS:
        raise Refused(Reason.UNPROCESSABLE, f"asset and part id have 1 to {MAX_NAME_CHARS} characters")
    if samples.shape[0] == 0:
        raise Refused(Reason.UNPROCESSABLE, "a frame without samples")
    if samples.nbytes > MAX_SAMPLE_BYTES:
        raise Refused(Reason.UNPROCESSABLE, f"{samples.nbytes} bytes of samples, {MAX_SAMPLE_BYTES} at most")
    shortest_ns = 1 if samples.shape[0] > 1 and offsets_ns is None else 0
    if not shortest_ns <= period_ns <= _LONGEST_PERIOD_NS:
        raise Refused(Reason.UNPROCESSABLE, "the period between samples must be above 0, and at most a day")
    if not 0 <= sequence < 2**63:
        raise Refused(Reason.UNPROCESSABLE, f"the sequence {sequence} is not in 0..2^63-1")
    if min(first_at_ns, observed_at_ns) < 0:
        raise Refused(Reason.TOO_OLD, "a time before 1970")
    if max(first_at_ns, observed_at_ns) >= LAST_NS:
        raise Refused(Reason.IN_FUTURE, "a time after 2261")
    if not np.isfinite(samples).all():
        raise Refused(Reason.NON_FINITE, _non_finite(signal_set, samples))
    return Frame(
        asset=asset,
        signal_set=signal_set.name,
        sequence=sequence,
        first_at_ns=first_at_ns,
        period_ns=period_ns,
        samples=samples,
        observed_at_ns=observed_at_ns,
        event_id=event_id("telemetry_frame", asset, signal_set.name, sequence),
        trace_id=trace_id(asset, sequence),
        part_id=part_id,
        offsets_ns=offsets_ns,
    )


def _non_finite(signal_set: SignalSet, samples: NDArray[np.float32]) -> str:
    rows, columns = np.nonzero(~np.isfinite(samples))
    name = signal_set.columns[columns[0]]
    return f"{len(rows)} samples are NaN or infinite, the first in {name}, row {rows[0]}"


def stack(signal_set: SignalSet, signals: Mapping[str, ArrayLike | Value]) -> NDArray[np.float32]:
    """float32 [time, signal] in the order of `signal_set`.

    Raises `Refused`: `wrong_signal_count` when a signal is missing, unknown or of another length than the
    others; `unprocessable` when one is not numeric.
    """
    wanted = signal_set.columns
    if signals.keys() != set(wanted):
        missing = [name for name in wanted if name not in signals]
        unknown = [name for name in signals if name not in wanted]
        raise Refused(
            Reason.WRONG_SIGNAL_COUNT,
            f"{len(signals)} signals for the {len(wanted)} of {signal_set.name};"
            f" missing: {_some(missing)}; unknown: {_some(unknown)}",
        )
    columns = [_column(name, signals[name]) for name in wanted]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        detail = ", ".join(f"{name} {len(column)}" for name, column in zip(wanted, columns, strict=True))
        raise Refused(Reason.WRONG_SIGNAL_COUNT, f"signals of unequal length: {detail[:400]}")
    return np.column_stack(columns)


def unpack(signal_set: SignalSet, packed: bytes) -> NDArray[np.float32]:
    """float32 [time, signal] in the order of `signal_set`, from little-endian float32 row by row.

    Raises `Refused` (`wrong_signal_count`) when it does not hold whole rows.
    """
    wide = len(signal_set.columns)
    if len(packed) % (4 * wide):
        raise Refused(
            Reason.WRONG_SIGNAL_COUNT,
            f"{len(packed)} bytes are no whole rows of the {wide} signals of {signal_set.name}, 4 bytes each",
        )
    return np.frombuffer(packed, "<f4").reshape(-1, wide).astype(np.float32, copy=False)


def _column(name: str, value: ArrayLike | Value) -> NDArray[np.float32]:
    column = np.atleast_1d(np.asarray(value))
    if column.ndim != 1 or column.dtype.kind not in "iuf":
        raise Refused(Reason.UNPROCESSABLE, f"{name[:80]} is no row of numbers")
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused as such
        return column.astype(np.float32)


def _some(names: list[str]) -> str:
    return ", ".join(name[:80] for name in names[:5]) + (" ..." if len(names) > 5 else "") or "none"


def _joint(frame: Frame, values: Values, now: datetime) -> JointWelded:
    limit_uohm = _LIMIT_UOHM
    if values.get("Setpoint/EndOfLineLimit") is not None:
        limit_uohm = number(values, "Setpoint/EndOfLineLimit")
    return JointWelded(
        event_id=event_id("joint_welded", frame.asset, frame.sequence),
        asset=frame.asset,
        at=now,
        observed_at=utc(frame.observed_at_ns),
        trace_id=frame.trace_id,
        part_id=frame.part_id,
        sequence=frame.sequence,
        recipe=text(values, "Recipe"),
        resistance_uohm=number(values, "Part/Resistance"),
        power_w=number(values, "Setpoint/Power"),
        focus_mm=number(values, "Setpoint/Focus"),
        limit_uohm=limit_uohm,
        rejected=flag(values, "Part/Rejected"),
    )
