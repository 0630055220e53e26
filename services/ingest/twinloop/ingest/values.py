"""A device's values by the names of their metrics. Each raises `Refused` for what is wrong. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from twinloop.contracts.deadletters import Reason
from twinloop.ingest.errors import Refused
from twinloop.sparkplug import Value

Values = Mapping[str, Value]


def text(values: Values, name: str) -> str:
    """Text that is not empty."""
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(Reason.UNPROCESSABLE, _instead(name, value, "text"))
    return value


def whole(values: Values, name: str) -> int:
    """A whole number."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refused(Reason.UNPROCESSABLE, _instead(name, value, "a whole number"))
    return value


def number(values: Values, name: str) -> float:
    """A finite number."""
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refused(Reason.UNPROCESSABLE, _instead(name, value, "a number"))
    if not math.isfinite(value):
        raise Refused(Reason.NON_FINITE, f"{name} is {value}")
    return float(value)


def flag(values: Values, name: str) -> bool:
    """True or false; false when it is not told."""
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refused(Reason.UNPROCESSABLE, _instead(name, value, "true or false"))
    return bool(value)


def _instead(name: str, value: object, wanted: str) -> str:
    return f"{name} is missing" if value is None else f"{name} is {str(value)[:80]!r}, not {wanted}"
