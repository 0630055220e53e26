"""The novelty detector as it is exported, against plain numpy that compares every pair of windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eval.telemetry import FrozenLimit

from train.made import Rows, served, stream, tensor, windows
from twinloop.features.windows import WindowSpec
from twinloop.trainer.errors import UnfitData
from twinloop.trainer.training.detectors.novelty import LENGTHS, Novelty

HOP, WINDOW, HISTORY = 10, 110, 300
SETTINGS = {"history": HISTORY, "record_rows": 1000}


def telemetry(seed: int, rows: int) -> Rows:
    """Something periodic with noise, [rows, 1], between about -1 and 1."""
    draw = np.random.default_rng(seed)
    t = np.arange(rows) + draw.uniform(0, 100)
    return (0.7 * np.sin(t / 7) + 0.2 * np.sin(t / 31) + 0.02 * draw.standard_normal(rows))[:, None]


class Reference:
    """One asset with one signal, in half ranges. `gap` is the row at which a new stretch begins."""

    def __init__(self) -> None:
        self.rows = np.zeros(0)
        self.begins: list[int] = []
        self.late: list[tuple[np.ndarray, bool]] = []
        self.blocks: list[np.ndarray] = []
        self.block = np.zeros(3)
        self.learnt = self.in_block = self.calm = self.lasted = self.since = 0
        self.on = False

    def feed(self, window: np.ndarray, *, gap: bool) -> tuple[float, float]:
        """z and the score."""
        if gap:
            self.begins.append(len(self.rows))
        self.rows = np.append(self.rows, window if gap else window[-HOP:])
        self.since = WINDOW if gap else self.since + HOP
        end = len(self.rows)
        s = np.array([max(self._distance(t, m) for t in range(end - HOP, end)) for m in LENGTHS])
        largest = np.max([self.block, *self.blocks[-20:]], axis=0)
        z = float((s / (1.5 * largest + 0.04)).max())
        judged = self.since >= 250 and self.learnt * HOP >= 700
        if self.on:
            self.calm = self.calm + 1 if z < 0.7 else 0
            self.lasted += 1
            self.on = not (self.calm * HOP >= 10 or self.lasted * HOP >= 300)
        else:
            self.on = z > 1
        self.on = self.on and judged
        if not self.on:
            self.calm = self.lasted = 0
        self._record(s)
        return z, 0.0 if not judged else (z + 1.001 if self.on else min(z, 1.0))

    def _distance(self, t: int, m: int) -> float:
        here = self.rows[t - m + 1 : t + 1]
        found = []
        for j in range(max(m - 1, t - HISTORY), t - m + 1):
            if not any(j - m + 1 < begin <= j for begin in self.begins if begin):
                found.append(np.sqrt(((here - self.rows[j - m + 1 : j + 1]) ** 2).mean()))
        return min(found, default=0.0)

    def _record(self, s: np.ndarray) -> None:
        self.late.append((s, self.on))
        old = self.late[-21] if len(self.late) > 20 else None
        if self.on:
            return
        if old is not None and not old[1]:
            self.block, self.learnt = np.maximum(self.block, old[0]), self.learnt + 1
        self.in_block += 1
        if self.in_block == 5:
            self.blocks.append(self.block)
            self.block, self.in_block = np.zeros(3), 0


def made(signals: tuple[str, ...] = ("x",)) -> Novelty:
    detector = Novelty(WindowSpec(WINDOW, HOP, signals), SETTINGS)
    half = np.ones((1, WINDOW, len(signals)), np.float32)
    with torch.no_grad():
        detector.learn([tensor(half), tensor(-half)])
    return detector


def test_what_is_exported_answers_what_numpy_does_across_a_gap() -> None:
    before, after = telemetry(1, 1400), telemetry(2, 1100)
    before[1200:1260] = 0.9
    after[600:700] *= -0.2
    cut = [windows(before, WINDOW, HOP), windows(after, WINDOW, HOP)]
    model = served(made())
    (said,) = stream(model, [np.concatenate(cut)])
    reference, alarms = Reference(), 0
    for n, (one, window) in enumerate(zip(said, np.concatenate(cut)[:, :, 0], strict=True)):
        z, score = reference.feed(window.astype(float), gap=n in (0, len(cut[0])))
        assert one.deviations[0, 0] == pytest.approx(z, rel=2e-3, abs=2e-3)
        assert one.score[0] == pytest.approx(score, rel=2e-3, abs=2e-3)
        assert (one.score[0] > model.contract.threshold) == reference.on
        alarms += reference.on
    assert alarms > 5


def test_the_novelty_of_several_signals_is_that_of_the_one_that_is_new() -> None:
    rows = np.concatenate([telemetry(seed, 1500) for seed in (1, 2)], axis=1)
    rows[1200:1280, 1] = -0.95
    (said,) = stream(served(made(("x", "y"))), [windows(rows, WINDOW, HOP)])
    alarmed = [one for one in said if one.score[0] > 1]
    assert alarmed
    assert all(one.deviations[0, 1] > one.deviations[0, 0] for one in alarmed[:3])


def test_the_range_is_that_of_all_recordings() -> None:
    detector = Novelty(WindowSpec(WINDOW, HOP, ("x",)), {})
    with torch.no_grad():
        detector.learn([torch.full((1, WINDOW, 1), 3.0), torch.full((2, WINDOW, 1), 7.0)])
    assert (float(detector.centre), float(detector.half_range)) == (5.0, 2.0)
    with pytest.raises(UnfitData, match="a window must be 100 rows and a hop"):
        Novelty(WindowSpec(100, 10, ("x",)), {})


def test_a_limit_that_is_frozen_after_train_learns_nothing_from_what_is_judged() -> None:
    """The variant of the evaluation: up to the gap it answers as ever, and afterwards its limit stands."""
    before, after = telemetry(1, 1400), 1.5 * telemetry(2, 900)
    cut = [windows(before, WINDOW, HOP), windows(after, WINDOW, HOP)]
    spec, (gap, end) = WindowSpec(WINDOW, HOP, ("x",)), np.cumsum([len(one) for one in cut])
    half = np.ones((1, WINDOW, 1), np.float32)
    said, limits = [], []
    for kind in (Novelty, FrozenLimit):
        detector = kind(spec, SETTINGS)
        with torch.no_grad():
            detector.learn([tensor(half), tensor(-half)])
        (answers,) = stream(served(detector), [np.concatenate(cut)])
        kept = [detector.unpack(torch.from_numpy(answers[n - 1].memory)) for n in (gap, end)]
        limits.append([torch.maximum(one["record"].amax(dim=3), one["block"]) for one in kept])
        said.append(np.array([float(one.score[0]) for one in answers]))
    assert (said[0][:gap] == said[1][:gap]).all()
    assert torch.equal(*limits[1])
    assert (limits[0][1] > limits[0][0]).any()
    assert (said[0][gap:] != said[1][gap:]).any()
