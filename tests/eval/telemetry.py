"""SMAP or MSL: a spacecraft's telemetry, with sequences that experts call anomalous. One model for all.

Each channel is an asset that sends its healthy rows first, and after a gap those that are judged: what it has
learnt of the channel by then lies in its memory. Only the telemetry is used, none of the commands.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eval.data import Channel, Flags
from eval.score import Events, Figure, events, figures, sequences
from eval.service import Said, Service
from eval.trained import artefact, recordings
from twinloop.features.windows import WindowSpec
from twinloop.trainer.training.detectors import DETECTORS
from twinloop.trainer.training.detectors.base import Setting, choose
from twinloop.trainer.training.detectors.novelty import Novelty
from twinloop.trainer.training.job import Order
from twinloop.trainer.training.layout import Layout

SIGNAL_SET = "telemetry.v1"
SPEC = WindowSpec(110, 10, ("telemetry",))
FRAME_ROWS = 10
NOVELTY, FROZEN = "novelty", "novelty, its limit frozen after train"
Row = dict[str, Figure]


class FrozenLimit(Novelty):
    """Its limit is learnt from the rows before the first gap alone: from train. Of a channel that has too
    few rows there, from as many more as it needs. What was heard becomes known as ever."""

    def __init__(self, spec: WindowSpec, settings: Mapping[str, Setting]) -> None:
        super().__init__(spec, settings)
        self.layout = Layout((*self.layout.parts, ("stretches", ())))

    def _record(self, was: dict[str, Tensor], now: dict[str, Tensor], distance: Tensor, on: Tensor) -> None:
        super()._record(was, now, distance, on)
        begins = now["since"] < self.spec.window + 0.5
        now["stretches"] = (was["stretches"] + begins.to(distance.dtype)).clamp(max=2.0)
        enough = was["learnt"] * self.spec.hop > self.number("calibration_rows") - 0.5
        frozen = (now["stretches"] > 1.5) & enough
        for name in ("record", "block", "in_block", "learnt", "late"):
            wide = frozen.reshape(-1, *(1,) * (now[name].dim() - 1))
            now[name] = choose(wide, was[name], now[name])


DETECTORS[FROZEN] = FrozenLimit


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """A channel, and what was said of its test rows."""

    channel: Channel
    said: Said

    @property
    def events(self) -> Events:
        """What counts."""
        return events(self.channel.events, self.said.alarmed)


def labels(one: Channel) -> Flags:
    """Of each test row, whether it is in a labelled sequence."""
    inside = np.zeros(len(one.test), np.bool_)
    for first, last in one.events:
        inside[first : last + 1] = True
    return inside


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Of all channels, also with a limit that is frozen after train, beside simple detectors."""

    heard: list[Heard]
    frozen: list[Heard]
    controls: dict[str, Row]

    def figures(self) -> dict[str, Row]:
        """Of every row of the scoreboard."""
        told = {f"control: {name}": row for name, row in self.controls.items()}
        told[NOVELTY] = figures([one.events for one in self.heard], sequences)
        told[FROZEN] = figures([one.events for one in self.frozen], sequences)
        return told


async def evaluate(channels: Sequence[Channel], pool: Sequence[Channel]) -> Telemetry:
    """Train, export, judge and count; the scale of the data is learnt from the `pool`'s healthy rows."""
    heard = await hear(channels, pool, {})
    frozen = await hear(channels, pool, {}, architecture=FROZEN)
    controls = {
        name: figures([events(one.events, detect(one)) for one in channels], sequences)
        for name, detect in CONTROLS.items()
    }
    return Telemetry(heard, frozen, controls)


async def hear(
    channels: Sequence[Channel],
    pool: Sequence[Channel],
    settings: Mapping[str, Setting],
    spec: WindowSpec = SPEC,
    architecture: str = NOVELTY,
) -> list[Heard]:
    """What the model with these settings says of the channels' test rows."""
    data = recordings("telemetry", SIGNAL_SET, spec, {one.name: one.train for one in pool})
    order = Order("novelty", architecture=architecture, settings=settings, apart=False)
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        await service.serve_artefact(artefact(order, data), SIGNAL_SET)
        said = await service.judge(
            SIGNAL_SET, {one.name: [one.train, one.test] for one in channels}, FRAME_ROWS
        )
    return [Heard(one, said[one.name][1]) for one in channels]


def best_and_worst(those: Sequence[Heard]) -> tuple[Heard, Heard]:
    """The one with the most sequences of which all are found soonest, without a false run; the one of which
    most are missed."""

    def bad(one: Heard) -> tuple[float, int, int, int, str]:
        found = one.events
        missed = len(found.found) - sum(found.found)
        runs = len(found.false_runs)
        return missed / len(found.found), missed, runs, sum(found.delays), one.channel.name

    best = min(those, key=lambda one: (*bad(one)[:3], -len(one.events.found), *bad(one)[3:]))
    return best, max(those, key=bad)


# ---- what needs no memory, or no data at all


def _always(one: Channel) -> Flags:
    return np.ones(len(one.test), np.bool_)


def _random(one: Channel) -> Flags:
    seed = int.from_bytes(one.name.encode(), "big")
    return np.random.default_rng(seed).random(len(one.test)) < 0.01


def _outside(one: Channel) -> Flags:
    low, high = one.train.min() - 0.05, one.train.max() + 0.05
    return ((one.test < low) | (one.test > high))[:, 0]


def _residual(one: Channel) -> Flags:
    """One step ahead by least squares from 20 rows; 1.5 times the largest error in train, and 0.05."""
    train, test = one.train[:, 0].astype(float), one.test[:, 0].astype(float)
    lags, due = _lagged(train)
    weights = np.linalg.solve(lags.T @ lags + 1e-2 * np.eye(lags.shape[1]), lags.T @ due)
    limit = 1.5 * np.abs(lags @ weights - due).max() + 0.05
    lags, due = _lagged(np.concatenate([train[-_ORDER:], test]))
    far: Flags = np.abs(lags @ weights - due) > limit
    return far


_ORDER = 20


def _lagged(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lags = np.lib.stride_tricks.sliding_window_view(values, _ORDER)[:-1]
    return np.column_stack([lags, np.ones(len(lags))]), values[_ORDER:]


CONTROLS: dict[str, Callable[[Channel], Flags]] = {
    "every row is anomalous": _always,
    "1 % of rows, at random": _random,
    "outside of the range in train": _outside,
    "a step ahead, by least squares": _residual,
}
