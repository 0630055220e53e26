"""From a fitted model to an artefact: the same answers, a card with its worth, and no word to others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from twinloop.contracts.frames import Frame
from twinloop.contracts.models import Trained
from twinloop.features.windows import WindowSpec
from twinloop.trainer.__main__ import main
from twinloop.trainer.artefacts import by_mahalanobis, by_pca, checked, fitted
from twinloop.trainer.errors import NotAsFitted
from twinloop.trainer.export import contract_of, to_onnx
from twinloop.trainer.fit import Model, answer, fit_mahalanobis, fit_pca, judged_apart
from twinloop.trainer.recipes import SKAB, WELD, Recipe
from twinloop.trainer.windows import cut_in_time
from twinloop.tritonio.answers import differences
from twinloop.tritonio.artefact import Golden, read, unpack
from twinloop.tritonio.artefact import pack as packed_files
from twinloop.tritonio.server import Inference

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TRAINED = Trained(source="a test", assets=("acme.weld1",), windows=200)


def healthy(recipe: Recipe, seed: int = 1, count: int = 200) -> NDArray[np.float32]:
    draw = np.random.default_rng(seed)
    shape = (count, recipe.spec.window, len(recipe.spec.signals))
    level = draw.standard_normal((count, 1, shape[2]))
    return np.asarray(10 + level + draw.standard_normal(shape), np.float32)


WELDS = fit_mahalanobis(healthy(WELD), WELD.statistics, 1e-5)
ROWS = fit_pca(healthy(SKAB), SKAB.statistics)


def served_by(file: bytes, windows: NDArray[np.float32]) -> Inference:
    """The ONNX file's answer, by the reference implementation of its operators."""
    score, features, deviations = ReferenceEvaluator(onnx.load_from_string(file)).run(
        ["score", "features", "deviations"], {"windows": windows}
    )
    return Inference(np.asarray(score), np.asarray(features), np.asarray(deviations))


@settings(max_examples=20)
@given(data=st.data(), which=st.sampled_from([(WELD, WELDS), (SKAB, ROWS)]))
def test_the_onnx_file_says_what_was_fitted_of_any_window(
    data: st.DataObject, which: tuple[Recipe, Model]
) -> None:
    recipe, model = which
    offsets = data.draw(
        arrays.arrays(np.float32, len(recipe.spec.signals), elements=st.floats(-1000, 1000, width=32))
    )
    windows = np.asarray(healthy(recipe, data.draw(st.integers(0, 99)), count=5) + offsets, np.float32)
    file = to_onnx(model, recipe)
    contract = contract_of(model, recipe, "any", file)
    assert not differences(contract, answer(model, windows), served_by(file, windows))


def test_the_same_model_is_the_same_file() -> None:
    assert to_onnx(WELDS, WELD) == to_onnx(fit_mahalanobis(healthy(WELD), WELD.statistics, 1e-5), WELD)
    model = onnx.load_from_string(to_onnx(WELDS, WELD))
    assert (model.ir_version, [one.version for one in model.opset_import]) == (9, [17])


def test_an_artefact_is_whole_and_its_card_says_what_it_was_made_of_and_what_it_is_worth() -> None:
    windows = healthy(WELD)
    made = fitted("weld", WELD, by_mahalanobis(WELD, 1e-5), windows, TRAINED, NOW)
    contract, card = made.contract, made.card
    assert unpack(packed_files(made)).contract == contract
    assert (contract.version, contract.signals, contract.features) == (0, WELD.spec.signals, WELD.features)
    assert contract.threshold == WELDS.threshold
    assert (card.architecture, card.trained, card.settings) == (
        "mahalanobis",
        TRAINED,
        {"false_alarms": 1e-5},
    )
    assert card.seed is None  # nothing was drawn
    (figure,) = card.measured
    assert figure.high is not None
    assert figure.value == 0 < figure.high < 0.05
    assert any("drift" in one for one in card.limits)
    assert set(card.reference) == {"score", *WELD.features}
    assert card.reference["plasma.mean"][10] == pytest.approx(
        np.median(windows[:, :, 0].mean(axis=1)), rel=1e-5
    )
    assert len(made.golden.windows) == 64
    assert np.array_equal(made.golden.windows[[0, -1]], windows[[0, -1]])


def test_of_few_windows_there_is_a_model_and_no_figure() -> None:
    """Fewer than four a feature are left when a fifth is kept apart."""
    made = fitted("weld", WELD, by_mahalanobis(WELD, 1e-5), healthy(WELD, count=50), TRAINED, NOW)
    assert made.card.measured == ()
    assert len(made.golden.windows) == 50


def test_what_a_window_is_judged_by_has_seen_none_of_its_rows() -> None:
    """The recording is a staircase: who has seen a step calls it usual."""
    steps = np.repeat(np.arange(5.0), 40)
    rows = steps[:, None] * 100 + np.random.default_rng(1).standard_normal((200, 8))
    windows = np.lib.stride_tricks.sliding_window_view(rows.astype(np.float32), 10, axis=0)
    windows = np.ascontiguousarray(windows.transpose(0, 2, 1))
    seen: list[NDArray[np.float32]] = []

    def fit(learnt: NDArray[np.float32]) -> Model:
        seen.append(learnt)
        return fit_pca(learnt, SKAB.statistics)

    flags = judged_apart(windows, 10, fit)
    assert [len(one) for one in flags] == [39, 38, 38, 38, 38]
    begins = np.cumsum([0, 39, 38, 38, 38, 38])
    for n, learnt in enumerate(seen):
        judged = set(windows[begins[n] : begins[n + 1]].reshape(-1, 8)[:, 0].tolist())
        assert not judged & set(learnt.reshape(-1, 8)[:, 0].tolist())
        assert len(learnt) > 130


def test_what_onnxruntime_answers_otherwise_becomes_no_artefact() -> None:
    made = fitted("rows", SKAB, by_pca(SKAB), healthy(SKAB), TRAINED, NOW)
    said = made.golden.answer
    other = Golden(made.golden.windows, replace(said, deviations=said.deviations + np.float32(0.1)))
    with pytest.raises(NotAsFitted, match="rows answers otherwise than it was fitted: deviations"):
        checked(replace(made, golden=other))


def test_of_windows_it_is_known_when_they_were() -> None:
    frames = [
        Frame(
            asset="a",
            signal_set="s.v1",
            sequence=n,
            first_at_ns=1000 * n,
            period_ns=100,
            samples=np.full((4, 1), n, np.float32),
            observed_at_ns=0,
            event_id="",
            trace_id="",
        )
        for n in range(3)
    ]
    found = cut_in_time(enumerate(frames), WindowSpec(4, 2, ("x",)))
    assert found.ended_ns.tolist() == [300, 1100, 1300, 2100, 2300]
    assert found.began_ns.tolist() == [0, 800, 1000, 1800, 2000]
    assert found.newest(2).values[:, 0, 0].tolist() == [1, 2]
    assert len(found.newest(9)) == 5
    assert len(cut_in_time([], WindowSpec(4, 2, ("x",)))) == 0


def test_the_commands_that_make_models_talk_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing says where Kafka or Triton are, and no connection can be made."""
    for name in ("KAFKA", "TRITON", "MODEL_REPOSITORY"):
        monkeypatch.delenv(f"TWINLOOP_{name}", raising=False)

    def refuse(*_: object) -> None:
        raise AssertionError("a connection is made")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.chdir(tmp_path)
    assert main(["cells", "--groups", "8", "--model", "cells"]) == 0
    assert "written to artefacts/cells" in capsys.readouterr().out
    assert read(tmp_path / "artefacts" / "cells").contract.signal_set == "vehicle.cells.v1"
    assert main(["cells", "--groups", "8", "--model", "cells"]) == 1
    assert "an artefact never changes" in capsys.readouterr().err
