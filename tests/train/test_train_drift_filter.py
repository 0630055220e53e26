"""The drift filter as it is exported, against plain numpy, step by step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from train import drift_reference as reference
from train.made import process, served, stream, tensor, windows
from twinloop.features.windows import WindowSpec
from twinloop.modelops.stability import Stability
from twinloop.trainer.errors import UnfitData
from twinloop.trainer.training.detectors.drift_filter import DriftFilter
from twinloop.trainer.training.job import Order, train
from twinloop.trainer.training.recordings import Recording, Recordings
from twinloop.tritonio.onnx_server import OnnxModel

SPEC = WindowSpec(10, 1, ("a", "b", "c", "d"))


def learnt(seeds: range = range(8)) -> DriftFilter:
    made = DriftFilter(SPEC, {})
    with torch.no_grad():
        made.learn([tensor(windows(process(seed, 400), 10)) for seed in seeds])
    return made


def with_faults(seed: int) -> reference.Floats:
    """Drift in one signal and later steps in others, one of them for long."""
    rows = process(seed, 1500)
    rows[:, 3] += np.linspace(0, 20, len(rows))
    rows[500:620, 0] += 0.05
    rows[900:, 1] -= 0.4
    return rows


def test_it_learns_what_numpy_does() -> None:
    pool = [process(seed, 400) for seed in range(8)]
    ours, due = learnt(), reference.learn(pool)
    assert ours.wander.numpy() == pytest.approx(due.wander, rel=2e-3, abs=1e-6)
    assert ours.unit.numpy() == pytest.approx(due.unit, rel=1e-3)
    assert float(ours.pooled) == pytest.approx(due.limit, rel=1e-3)


def test_what_is_exported_answers_what_numpy_does_step_by_step() -> None:
    ours = learnt()
    due = reference.Learnt(
        ours.wander.numpy().astype(float), ours.unit.numpy().astype(float), float(ours.pooled)
    )
    model = served(ours)
    assets = [with_faults(seed) for seed in (101, 102, 103)]
    alarmed = 0
    for said, rows in zip(stream(model, [windows(one, 10) for one in assets]), assets, strict=True):
        score, deviations = reference.follow(due, rows)
        assert np.concatenate([one.score for one in said]) == pytest.approx(score, abs=0.05)
        assert np.concatenate([one.deviations for one in said]) == pytest.approx(
            deviations, rel=5e-3, abs=5e-3
        )
        on = np.concatenate([one.score for one in said]) > model.contract.threshold
        assert (on == (score > reference.ONSET)).all()
        assert not on[: 400 - 9].any()
        alarmed += int(on.sum())
    assert alarmed > 600


def test_assets_beside_each_other_do_not_mix() -> None:
    model = served(learnt())
    one, other = windows(with_faults(101), 10), windows(process(5, 700), 10)
    alone = stream(model, [one])[0]
    beside = stream(model, [other, one])[1]
    assert [float(a.score[0]) for a in alone] == pytest.approx([float(b.score[0]) for b in beside], abs=1e-4)


def test_a_signal_that_stands_still_is_no_division_by_zero() -> None:
    rows = process(1, 800)
    rows[:, 2] = 7.0
    (said,) = stream(served(learnt()), [windows(rows, 10)])
    assert all(np.isfinite(one.memory).all() for one in said if one.memory is not None)
    assert not any(one.score[0] > 4 for one in said)


def test_too_short_a_recording_is_refused_with_a_sentence() -> None:
    made = DriftFilter(SPEC, {})
    with pytest.raises(UnfitData, match="no recording has 391 windows"):
        made.learn([tensor(windows(process(1, 300), 10))])
    with pytest.raises(UnfitData, match="calibration_rows must be more"):
        DriftFilter(SPEC, {"calibration_rows": 100})
    broken = process(1, 400)
    broken[30, 1] = np.nan
    with pytest.raises(UnfitData, match="no finite numbers"):
        made.learn([tensor(windows(broken, 10))])


def test_a_healthy_asset_has_not_drifted_by_the_card_that_was_made_of_it(tmp_path: Path) -> None:
    """Though each stands at a level of its own, and wanders on."""
    whole = {f"asset{seed}": process(seed, 2400) + 40 * seed for seed in range(3)}
    recordings = (Recording(name, windows(rows[:1200], 10)) for name, rows in whole.items())
    data, at = Recordings("a test", "made.v1", SPEC, tuple(recordings)), datetime(2026, 1, 1, tzinfo=UTC)
    order = Order("made", architecture="drift-filter", apart=False)
    made = train(order, data, tmp_path / "checkpoint", at, lambda _: None)
    live = stream(OnnxModel(made.contract, made.onnx), [windows(one[1200:], 10) for one in whole.values()])
    for name, said in zip(whole, live, strict=True):
        card = made.card.reference_of(name)
        assert card is not None
        stability = Stability(card, timedelta(hours=1))
        for one in said[made.contract.quiet :]:
            features = dict(zip(made.contract.features, one.features[0].tolist(), strict=True))
            stability.add({"score": float(one.score[0]), **features}, at)
        assert [(shift.name, shift.large) for shift in stability.shifts()] == [("score", False)]
    assert made.card.reference_of("another") is None
