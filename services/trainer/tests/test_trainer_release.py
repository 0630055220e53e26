"""From a fitted model to a served one: the same answers, a version of its own, and no word before both."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from twinloop.contracts.codec import decode
from twinloop.contracts.models import ModelContract
from twinloop.contracts.topics import MODELS
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka import MemoryPublisher
from twinloop.trainer.errors import NotAsFitted
from twinloop.trainer.export import contract_of, to_onnx
from twinloop.trainer.fit import Model, answer, fit_mahalanobis, fit_pca
from twinloop.trainer.recipes import SKAB, WELD, Recipe
from twinloop.trainer.release import Release, announce, compare, load, put
from twinloop.tritonio.fake import FakeTriton
from twinloop.tritonio.repository import contracts
from twinloop.tritonio.server import Inference


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


def release(name: str = "weld", seed: int = 1) -> Release:
    windows = healthy(WELD, seed)
    return Release(name, "weld.v1", WELD, fit_mahalanobis(windows, WELD.statistics, 1e-5), windows)


@settings(max_examples=20, deadline=None)
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
    contract = contract_of(model, recipe, "any", 1, file)
    compare(contract, answer(model, windows), served_by(file, windows))


def test_the_same_model_is_the_same_file() -> None:
    assert to_onnx(WELDS, WELD) == to_onnx(fit_mahalanobis(healthy(WELD), WELD.statistics, 1e-5), WELD)
    model = onnx.load_from_string(to_onnx(WELDS, WELD))
    assert (model.ir_version, [one.version for one in model.opset_import]) == (9, [17])


def test_versions_count_up_and_the_same_model_keeps_its_own(tmp_path: Path) -> None:
    first = put(tmp_path, release())
    assert (first.version, first.signals, first.features) == (1, WELD.spec.signals, WELD.features)
    second = put(tmp_path, release(seed=2))
    assert second.version == 2
    assert put(tmp_path, release()) == first
    assert put(tmp_path, release("other")).version == 1
    assert contracts(tmp_path, "weld") == (first, second)


def test_of_a_model_with_another_threshold_a_version_is_made(tmp_path: Path) -> None:
    """The file is the same, but the promise is not."""
    first = release()
    put(tmp_path, first)
    other = replace(first, model=replace(first.model, threshold=first.model.threshold + 1))
    assert put(tmp_path, other).version == 2


def answering(fake: FakeTriton, contract: ModelContract, model: Model, error: float = 0.0) -> None:
    """Publish to the fake what the real one would have read from the repository."""

    def function(windows: NDArray[np.float32]) -> Inference:
        said = answer(model, windows)
        return Inference(
            said.score.astype(np.float32),
            said.features.astype(np.float32),
            (said.deviations + error).astype(np.float32),
        )

    fake.publish(contract, function)


async def test_a_model_that_answers_as_fitted_is_loaded(tmp_path: Path) -> None:
    fake, one = FakeTriton(), release()
    contract = put(tmp_path, one)
    answering(fake, contract, one.model)
    await load(fake, contract, one)
    assert await fake.versions("weld") == (1,)


async def test_a_model_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    fake, one = FakeTriton(), release()
    contract = put(tmp_path, one)
    answering(fake, contract, one.model, error=0.1)
    with pytest.raises(NotAsFitted, match="weld version 1 answers otherwise than it was fitted: deviations"):
        await load(fake, contract, one)


async def test_a_route_is_told_under_its_scope(tmp_path: Path) -> None:
    out, contract = MemoryPublisher(), put(tmp_path, release())
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    await announce(out, {"weld.v1": contract, "acme.weld1": contract}, clock)
    assert [one.key for one in out.messages] == [b"weld.v1", b"acme.weld1"]
    routes = [decode(MODELS, one.value) for one in out.messages]
    assert [one.contract for one in routes] == [contract, contract]
    assert len({one.event_id for one in routes}) == 2
    assert routes[0].at == clock.now()
    assert msgspec.json.decode(out.messages[0].value)["type"] == "model_route"
