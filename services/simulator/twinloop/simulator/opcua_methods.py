"""The methods of a PLC over OPC UA: their arguments, and which command a call is.

A call whose arguments are of other types or another number than declared is no command: what they mean would
be a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncua import ua

from twinloop.simulator.commands import (
    Command,
    Heartbeat,
    Hold,
    Outcome,
    ReleaseControl,
    Resume,
    SetParameter,
    TakeControl,
)

STRING, DOUBLE, UINT64, DATE_TIME, BOOLEAN = (
    ua.VariantType.String,
    ua.VariantType.Double,
    ua.VariantType.UInt64,
    ua.VariantType.DateTime,
    ua.VariantType.Boolean,
)
Arguments = tuple[tuple[str, ua.VariantType], ...]
_ID = ("CommandId", STRING)
_WHEN: Arguments = (("IssuedAt", DATE_TIME), ("ExpiresAt", DATE_TIME))


@dataclass(frozen=True, slots=True)
class Method:
    """How a command is called: its arguments, and what of the outcome is the answer."""

    command: Callable[..., Command]
    arguments: Arguments
    answer: tuple[str, ua.VariantType]
    value: Callable[[Outcome], float | str | int]


METHODS: dict[str, Method] = {
    "SetParameter": Method(
        SetParameter,
        (
            _ID,
            ("Parameter", STRING),
            ("Value", DOUBLE),
            ("Expected", DOUBLE),
            ("Sequence", UINT64),
            ("Recipe", STRING),
            *_WHEN,
        ),
        ("Actual", DOUBLE),
        lambda outcome: outcome.actual,
    ),
    "Hold": Method(
        Hold,
        (_ID, ("Reason", STRING), ("Sequence", UINT64), *_WHEN),
        ("State", STRING),
        lambda outcome: outcome.mode,
    ),
    "Resume": Method(Resume, (_ID,), ("State", STRING), lambda outcome: outcome.mode),
    "TakeControl": Method(TakeControl, (_ID,), ("ControlSource", STRING), lambda outcome: outcome.source),
    "ReleaseControl": Method(
        ReleaseControl,
        (_ID, ("Reason", STRING)),
        ("ControlSource", STRING),
        lambda outcome: outcome.source,
    ),
    "Heartbeat": Method(Heartbeat, (("Counter", UINT64),), ("Beat", UINT64), lambda outcome: outcome.beat),
}


def argument(name: str, kind: ua.VariantType) -> ua.Argument:
    """As a method's declaration has it."""
    return ua.Argument(
        Name=name, DataType=ua.NodeId(ua.Int32(kind.value)), ValueRank=ua.Int32(ua.ValueRank.Scalar)
    )


def command_in(how: Method, given: Sequence[ua.Variant]) -> Command | None:
    """The command in a call's arguments, or `None` when their number or types are others than declared."""
    if len(given) != len(how.arguments):
        return None
    values = []
    for variant, (_, kind) in zip(given, how.arguments, strict=True):
        if variant.VariantType != kind or variant.is_array or variant.Value is None:
            return None
        values.append(_aware(variant.Value) if isinstance(variant.Value, datetime) else variant.Value)
    return how.command(*values)


def _aware(at: datetime) -> datetime:
    """OPC UA times are UTC, whether or not the library says so."""
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
