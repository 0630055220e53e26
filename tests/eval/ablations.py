"""What each part of the two detectors is worth: one thing is changed, the rest stays as it is.

Of the drift filter torch itself is asked (what is exported answers the same), on all files as recorded, with
its pool from the other files. Of `novelty` only settings are changed, and it is asked through the service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eval.data import Channel, Labelled
from eval.report import Board, shown
from eval.score import Figure, figures, part, rows, sequences
from eval.telemetry import SPEC, hear
from eval.trained import say
from twinloop.features.windows import WindowSpec
from twinloop.trainer.recipes import SKAB
from twinloop.trainer.skab import TRAIN_ROWS
from twinloop.trainer.training.answering import answers
from twinloop.trainer.training.detectors.base import Setting
from twinloop.trainer.training.detectors.drift_filter import (
    LIMIT,
    SETTLED,
    UNIT,
    DriftFilter,
    norm,
    quantile,
)
from twinloop.trainer.training.recordings import of_rows

Row = dict[str, Figure]
STEPS = 40
"""Of gradient descent."""


class NoWander(DriftFilter):
    """A held reference keeps its full credit."""

    def _own_wander(self, parts: dict[str, Tensor]) -> Tensor:
        return torch.zeros_like(parts["noise"])


class PooledWander(DriftFilter):
    """What an asset shows by itself does not count, once the pool is known."""

    def _own_wander(self, parts: dict[str, Tensor]) -> Tensor:
        own = super()._own_wander(parts)
        return torch.zeros_like(own) if torch.isfinite(self.pooled) else own


class OwnWander(DriftFilter):
    """What others show does not count."""

    def learn(self, recordings: Sequence[Tensor]) -> None:
        super().learn(recordings)
        self.wander.zero_()


class PlainThreshold(DriftFilter):
    """No sum: each window by itself."""

    def _sum(self, was: dict[str, Tensor], z: Tensor, calibrating: Tensor) -> tuple[Tensor, Tensor]:
        on = ((z > 1) & ~calibrating).to(z.dtype)
        return on, on


class NothingHeld(DriftFilter):
    """The reference follows everything, faults too."""

    def _held(self, square: Tensor, limit: Tensor, total: Tensor, on: Tensor) -> Tensor:
        return torch.zeros_like(square, dtype=torch.bool)


class AllHeld(DriftFilter):
    """In an alarm every reference is held."""

    def _held(self, square: Tensor, limit: Tensor, total: Tensor, on: Tensor) -> Tensor:
        return (on > 0.5).expand_as(square)


class ByGradient(DriftFilter):
    """Of the pool's wander and of the inertia, what foresees each mean best from those before it."""

    def learn(self, recordings: Sequence[Tensor]) -> None:
        super().learn(recordings)
        pool = torch.stack([one[: self.calibration] for one in recordings])
        memory = self.nothing(len(pool))
        for step in range(self.calibration):
            *_, memory = self(pool[:, step], memory)
        parts = self.unpack(memory)
        noise, own = self._noise(parts), self._own_wander(parts)
        levels = (pool - parts["origin"][:, None, None]).mean(dim=2)
        with torch.enable_grad():
            wander = torch.log(self.wander + 1e-4).requires_grad_()
            inertia = torch.tensor(self.number("inertia")).log().requires_grad_()
            optimizer = torch.optim.Adam([wander, inertia], 0.1)
            for _ in range(STEPS):
                optimizer.zero_grad()
                self._surprise(levels, noise, torch.maximum(wander.exp(), own), inertia.exp()).backward()
                optimizer.step()
        self.wander.copy_(wander.exp())
        self.settings["inertia"] = float(inertia.exp())
        found = self._deviations(pool, parts["origin"], noise, torch.maximum(self.wander, own))
        self.unit.copy_(quantile(found.abs(), UNIT))
        self.pooled.copy_(quantile(norm(found / self.unit), LIMIT))

    def _surprise(self, levels: Tensor, noise: Tensor, wander: Tensor, inertia: Tensor) -> Tensor:
        """The mean negative logarithm of the likelihood, of normal values."""
        level = levels[:, : self.start].mean(dim=1)
        variance = self._start_variance(wander)
        total = torch.zeros(())
        for step in range(self.start, self.calibration):
            variance = variance + wander
            away, spread = levels[:, step] - level, noise * (variance + 1)
            if step >= self.start + SETTLED:
                total = total + (torch.log(spread) + away**2 / spread).mean()
            gain = variance / (variance + inertia)
            level, variance = level + gain * away, variance * (1 - gain)
        return total / (self.calibration - self.start - SETTLED)


@dataclass(frozen=True, slots=True)
class Change:
    """What is done otherwise."""

    kind: type[DriftFilter] = DriftFilter
    settings: Mapping[str, Setting] | None = None
    window: int = SKAB.spec.window


WATER: dict[str, Change] = {
    "as it is": Change(),
    "no wander: a held reference keeps full credit": Change(NoWander),
    "only the asset's own wander": Change(OwnWander),
    "only the pool's wander": Change(PooledWander),
    "no sum: each window by itself": Change(PlainThreshold),
    "nothing is held in an alarm": Change(NothingHeld),
    "everything is held in an alarm": Change(AllHeld),
    "sensitivity 1.0": Change(settings={"sensitivity": 1.0}),
    "sensitivity 1.5": Change(settings={"sensitivity": 1.5}),
    "onset 2": Change(settings={"onset": 2.0}),
    "inertia 100": Change(settings={"inertia": 100.0}),
    "inertia 400": Change(settings={"inertia": 400.0}),
    "wander and inertia by gradient, on the predictive likelihood": Change(ByGradient),
    "windows of 5 rows": Change(window=5),
    "windows of 20 rows": Change(window=20),
}

TELEMETRY: dict[str, tuple[Mapping[str, Setting], int]] = {
    "as it is": ({}, SPEC.hop),
    "a verdict every 5 rows": ({}, 5),
    "a verdict every 25 rows": ({}, 25),
    "no lag before a score enters": ({"lag_rows": 10}, SPEC.hop),
    "ratio 1.3": ({"ratio": 1.3}, SPEC.hop),
    "ratio 2.0": ({"ratio": 2.0}, SPEC.hop),
    "margin .05, record of 4000 rows": ({"margin": 0.05, "record_rows": 4000}, SPEC.hop),
    "history of 2000 rows": ({"history": 2000}, SPEC.hop),
    "no quiet after a gap": ({"quiet_rows": 100}, SPEC.hop),
}


@torch.no_grad()
def water(files: Sequence[Labelled], wanted: Callable[[str], bool]) -> dict[str, Row]:
    """The scoreboard's figures for each change."""
    torch.set_num_threads(1)
    found = {}
    for name, change in WATER.items():
        if not wanted(name):
            continue
        spec = WindowSpec(change.window, 1, SKAB.spec.signals)
        cut = {one.name: torch.from_numpy(of_rows(one.rows, spec)) for one in files}
        parts = []
        for n, file in enumerate(files, 1):
            say(n, len(files), name)
            detector = change.kind(spec, change.settings or {})
            detector.learn([cut[one.name][: detector.calibration] for one in files if one is not file])
            (said,) = answers(detector, [cut[file.name]])
            alarmed = np.zeros(len(file.rows), np.bool_)
            alarmed[spec.window - 1 :] = said.answer.score > detector.threshold
            parts.append(part(file.anomalous[TRAIN_ROWS:], alarmed[TRAIN_ROWS:]))
        found[name] = figures(parts, rows)
    return found


async def telemetry(channels: Sequence[Channel], wanted: Callable[[str], bool]) -> dict[str, Row]:
    """The same of channels."""
    found = {}
    for n, (name, (settings, hop)) in enumerate(TELEMETRY.items(), 1):
        if wanted(name):
            say(n, len(TELEMETRY), name)
            spec = WindowSpec(100 + hop, hop, SPEC.signals)
            heard = await hear(channels, channels, settings, spec)
            found[name] = figures([one.events for one in heard], sequences)
    return found


def boards(plain: Mapping[str, Mapping[str, Any]]) -> list[Board]:
    """The tables, of what `report.plain` gives of both."""
    by_file = _in_order(plain.get("water", {}), WATER)
    by_channel = _in_order(plain.get("telemetry", {}), TELEMETRY)
    heads = ("drift-filter", "F1", "FAR %", "MAR %", "events", "delay, rows", "false episodes/h")
    made = []
    for name, row in by_file.items():
        cells = [shown(row["f1"], "share"), shown(row["far"], "percent"), shown(row["mar"], "percent")]
        cells += [f"{row['found'].value:.0f}/{row['events'].value:.0f}", f"{row['delay'].value:g}"]
        made.append((name, *cells, f"{row['false_an_hour'].value:.1f}"))
    water_board = Board("Water circuit: one thing changed", heads, tuple(made))
    heads = ("novelty", "precision", "recall", "normal rows alarmed, %")
    told = tuple(
        (name, shown(row["precision"], "share"), shown(row["recall"], "share"), shown(row["far"], "percent"))
        for name, row in by_channel.items()
    )
    return [water_board] * bool(made) + [Board("Telemetry: one thing changed", heads, told)] * bool(told)


def _in_order(plain: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Row]:
    """Figures as they were written."""
    return {
        name: {
            what: Figure(*(np.nan if one is None else one for one in those)) for what, those in row.items()
        }
        for name in changes
        if (row := plain.get(name)) is not None
    }
