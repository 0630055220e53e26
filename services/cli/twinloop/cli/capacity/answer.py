"""What is answered: lines, each of which says what it rests on. Pure."""

from __future__ import annotations

import msgspec

from twinloop.cli.capacity.costs import Basis, Driver


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the answer. `low` and `high`: as far off as the model was from measured points; none where it
    is an extrapolation, whose error nobody knows. `why`: what is past the measured, or what to do."""

    part: str
    what: str
    value: float | None
    unit: str
    basis: Basis
    low: float | None = None
    high: float | None = None
    why: str = ""


class Share(msgspec.Struct, frozen=True):
    """How much of all cores something takes."""

    program: str
    driver: Driver
    cores: float
    share: float


class Answer(msgspec.Struct, frozen=True):
    """What a load needs, and what costs most."""

    items: tuple[Item, ...]
    drivers: tuple[Share, ...]
    bottlenecks: tuple[str, ...]
