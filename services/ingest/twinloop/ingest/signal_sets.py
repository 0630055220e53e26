"""The catalogue of signal sets: which signals a frame holds, in which order, and where its frames go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.topics import TELEMETRY_FACTORY, TELEMETRY_VEHICLE, Topic
from twinloop.ingest.errors import BadCatalogue, Refused
from twinloop.runtime.toml_files import load_toml

NEVER_SENT = ("anomaly", "changepoint")
"""Column names of labels: the answer to the question that a model is asked."""


class Kind(StrEnum):
    """What sends a signal set."""

    FACTORY = "factory"
    VEHICLE = "vehicle"

    @property
    def topic(self) -> Topic:
        """Where its frames go."""
        return TELEMETRY_VEHICLE if self is Kind.VEHICLE else TELEMETRY_FACTORY


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Signal(_Strict):
    """One column of a frame, or `elements` of them: `name[0]`, `name[1]` and so on.

    `unit` is a UCUM code, `1` where there is none.
    """

    name: str = Field(min_length=1)
    unit: str = Field(min_length=1)
    elements: int | None = Field(default=None, ge=1, le=1024)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        if self.elements is None:
            return (self.name,)
        return tuple(f"{self.name}[{at}]" for at in range(self.elements))


class CsvShape(_Strict):
    """How a CSV file with this signal set looks. Signals are found by the names of their columns."""

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    time_column: str = "time"
    labels: tuple[str, ...] = NEVER_SENT


class SignalSet(_Strict):
    """A named, ordered list of signals."""

    name: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")
    kind: Kind
    signals: tuple[Signal, ...] = Field(min_length=1)
    csv: CsvShape | None = None

    @model_validator(mode="after")
    def _consistent(self) -> SignalSet:
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(f"{self.name} names a signal twice")
        labels = set(NEVER_SENT) | set(self.csv.labels if self.csv else ())
        if sent := labels.intersection(self.columns):
            raise ValueError(f"{self.name}: {', '.join(sorted(sent))} is a label, not a signal")
        return self

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of the signals, in the order of a frame's columns."""
        return tuple(name for signal in self.signals for name in signal.columns)


class Catalogue(BaseModel):
    """The content of one file of signal sets."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signal_set: tuple[SignalSet, ...] = ()


class SignalSets:
    """Every signal set that this service accepts, by name."""

    def __init__(self, sets: Iterable[SignalSet]) -> None:
        """Raises `BadCatalogue` when two sets share a name."""
        self._sets: dict[str, SignalSet] = {}
        for one in sets:
            if one.name in self._sets:
                raise BadCatalogue(f"there are two signal sets named {one.name}")
            self._sets[one.name] = one

    def __iter__(self) -> Iterator[SignalSet]:
        return iter(self._sets.values())

    def find(self, name: str, kind: Kind | None = None) -> SignalSet:
        """The signal set. Raises `Refused` when there is none of this name, or it is not of `kind`."""
        found = self._sets.get(name)
        if found is None:
            raise Refused(Reason.UNKNOWN_SIGNAL_SET, f"{name[:80]!r} is in no catalogue of signal sets")
        if kind is not None and found.kind is not kind:
            raise Refused(Reason.UNKNOWN_SIGNAL_SET, f"{name} comes from a {found.kind}, not from a {kind}")
        return found


def load(extra: Path | None = None) -> SignalSets:
    """The built-in signal sets and those of `extra`.

    Exits with 2 when a file is broken; raises `BadCatalogue` when `extra` redefines a name.
    """
    built_in = Path(str(files("twinloop.ingest") / "signal_sets.toml"))
    catalogues = [load_toml(path, Catalogue) for path in (built_in, extra) if path is not None]
    return SignalSets(one for catalogue in catalogues for one in catalogue.signal_set)
