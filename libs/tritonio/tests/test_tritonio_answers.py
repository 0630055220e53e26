"""Two answers are the same up to what float32 loses, and an artefact is whole or refused."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.artefacts import artefact_of

from twinloop.contracts.models import ModelContract
from twinloop.tritonio import artefact as artefacts
from twinloop.tritonio.answers import RELATIVE, Tolerance, differences
from twinloop.tritonio.artefact import BadArtefact, Golden, pack, read, unpack, write
from twinloop.tritonio.server import Inference

MADE = artefact_of("one", 1.0)
RECURRENT = artefact_of("two", 1.0, recurrent=True)


def off(answer: Inference, name: str, by: float) -> Inference:
    values = getattr(answer, name).copy()
    values.flat[0] += by
    return replace(answer, **{name: values})


@given(st.sampled_from(["score", "features", "deviations", "memory"]), st.floats(-1, 1))
def test_an_answer_may_be_off_by_its_tolerance_and_no_more(name: str, by: float) -> None:
    contract, due = RECURRENT.contract, RECURRENT.golden.answer
    allowed = Tolerance(0.1, 0.2, 0.3)
    most = {"features": 0.1, "deviations": 0.2, "score": 0.3, "memory": 0.2}[name]
    most += RELATIVE * abs(float(getattr(due, name).flat[0]))
    if abs(abs(by) - most) < 1e-4:
        return
    found = differences(contract, due, off(due, name, by), allowed)
    assert bool(found) == (abs(by) > most)
    assert all(name in one and "differ by up to" in one for one in found)


@pytest.mark.parametrize("name", ["score", "features", "deviations"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_never_the_same(name: str, value: float) -> None:
    contract, due = MADE.contract, MADE.golden.answer
    wrong = off(due, name, value)
    generous = Tolerance(1e9, 1e9, 1e9)
    assert differences(contract, due, wrong, generous) == [f"{name} holds what is no number"]
    assert differences(contract, wrong, wrong, generous) == (
        [f"{name} holds what is no number"] if np.isnan(value) else []
    )


def test_an_answer_of_another_shape_is_told_by_its_shape() -> None:
    contract, due = MADE.contract, MADE.golden.answer
    assert differences(contract, due, due.part(0, 1))[0].startswith("features has shape [1, 2], not")


@pytest.mark.parametrize("made", [MADE, RECURRENT], ids=["plain", "recurrent"])
def test_an_artefact_is_read_as_it_was_written(made: artefacts.Artefact, tmp_path: Path) -> None:
    write(tmp_path / "one", made)
    found = read(tmp_path / "one")
    assert (found.contract, found.card, found.onnx) == (made.contract, made.card, made.onnx)
    assert not differences(made.contract, made.golden.answer, found.golden.answer)
    assert np.array_equal(found.golden.windows, made.golden.windows)


def packed(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def golden(contract: ModelContract, **other: np.ndarray) -> bytes:
    made = MADE.golden
    assert contract == MADE.contract
    arrays = {
        "windows": made.windows,
        "score": made.answer.score,
        "features": made.answer.features,
        "deviations": made.answer.deviations,
    }
    return packed(**{**arrays, **other})


NAN = np.full_like(MADE.golden.windows, np.nan)
BAD_GOLDEN = {
    "no archive": (b"nonsense", "not a zip file"),
    "a file is missing": (packed(windows=MADE.golden.windows), "there is no score in it"),
    "windows are none": (golden(MADE.contract, windows=NAN), "windows hold what is no number"),
    "an answer is none": (golden(MADE.contract, score=NAN[:, 0, 0]), "NaN or infinity"),
    "another shape": (golden(MADE.contract, windows=NAN[:, :1]), "takes float32"),
    "objects": (golden(MADE.contract, score=np.array([{}])), "allow_pickle=False"),
    "a lie about its size": (golden(MADE.contract)[:-40], "golden.npz: "),
}


@pytest.mark.parametrize("bad", BAD_GOLDEN.values(), ids=BAD_GOLDEN)
def test_golden_windows_that_are_none_are_refused(bad: tuple[bytes, str]) -> None:
    with pytest.raises(BadArtefact, match=r"golden\.npz") as caught:
        unpack({**pack(MADE), "golden.npz": bad[0]})
    assert bad[1] in str(caught.value)


def test_golden_windows_that_grow_when_they_are_unpacked_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artefacts, "MAX_GOLDEN_BYTES", 1_000_000)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("windows.npy", b"\0" * 1_000_001)
    assert len(out.getvalue()) < 2000
    with pytest.raises(BadArtefact, match="1000001 bytes, and 1000000 is the most"):
        unpack({**pack(MADE), "golden.npz": out.getvalue()})


def test_an_artefact_of_parts_that_are_not_of_one_model_is_refused() -> None:
    other = artefact_of("one", 2.0)
    for name, said in (
        ("model.onnx", "its digest is"),
        ("card.json", "with the digest"),
        ("contract.json", "its digest is"),
    ):
        with pytest.raises(BadArtefact, match=said):
            unpack({**pack(MADE), name: pack(other)[name]})
    with pytest.raises(BadArtefact, match=r"golden\.npz"):
        unpack({**pack(MADE), "golden.npz": pack(RECURRENT)["golden.npz"][:100]})
    assert isinstance(MADE.golden, Golden)
