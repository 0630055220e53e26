"""What to weld next, and when: pure.

A campaign welds the same number of parts at each of its stations, in lockstep: weld `n` of every station
comes from the same noise, unless `own_noise` is asked for, and is due at the same instant, `n / rate_hz`
after the start. Deadlines hang on the start and not on each other, so the pace does not drift; a late weld is
made up for.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from twinloop.simulator.faults import Fault
from twinloop.simulator.plc_faults import PlcFaults
from twinloop.simulator.trials import Trial

MAX_RATE_HZ = 100.0


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What the panel was asked for. `faults` and `plc` are by station; `seed` fixes all noise.

    `trials` are welded first, in order, at setpoints that a person sets; what is left of `welds` is nominal.
    `keep_setpoints`: go on with the setpoints in force, as the day after does, instead of nominal ones.
    `own_noise`: each station has noise of its own, as real ones do, and cannot be compared weld by weld.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    welds: Annotated[int, Field(ge=1, le=1_000_000)]
    rate_hz: Annotated[float, Field(gt=0, le=MAX_RATE_HZ)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    stations: Annotated[tuple[str, ...], Field(min_length=1)]
    faults: Mapping[str, tuple[Annotated[Fault, Field(discriminator="kind")], ...]] = field(
        default_factory=dict
    )
    plc: Mapping[str, PlcFaults] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    keep_setpoints: bool = False
    own_noise: bool = False

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def due_s(self, number: int) -> float:
        """When weld `number`, from 0, is due: seconds after the start."""
        return number / self.rate_hz


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a station stands. Sequences are part counters, `None` before the first part.

    A station that was put on Hold is finished: it makes no further part of this campaign.
    """

    welds_done: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None
    held: bool = False
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A campaign under way; `number` is the next weld."""

    campaign: Campaign
    stations: Mapping[str, Progress]
    number: int = 0

    @property
    def finished(self) -> bool:
        """True when no station has anything left to weld."""
        return all(progress.finished for progress in self.stations.values())


def begin(campaign: Campaign) -> Run:
    """The campaign before its first weld."""
    return Run(campaign, {name: Progress() for name in campaign.stations})


def next_welds(run: Run, held: Set[str]) -> tuple[Run, tuple[str, ...]]:
    """The stations that make weld `run.number`; those on Hold are finished instead."""
    stations = {
        name: replace(progress, held=True, finished=True)
        if name in held and not progress.finished
        else progress
        for name, progress in run.stations.items()
    }
    return replace(run, stations=stations), tuple(
        name for name, progress in stations.items() if not progress.finished
    )


def welded(run: Run, sequences: Mapping[str, int]) -> Run:
    """After weld `run.number` was made; `sequences` is the part counter of each station that made it."""
    stations = dict(run.stations)
    for name, sequence in sequences.items():
        before = stations[name]
        done = before.welds_done + 1
        stations[name] = replace(
            before,
            welds_done=done,
            first_sequence=sequence if before.first_sequence is None else before.first_sequence,
            last_sequence=sequence,
            finished=done >= run.campaign.welds,
        )
    return replace(run, stations=stations, number=run.number + 1)
