"""A contract that no detector could keep, and a card that drift could not be told by, are refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.artefacts import artefact_of

from twinloop.contracts.models import QUANTILES
from twinloop.tritonio.artefact import BadArtefact, pack, unpack
from twinloop.tritonio.errors import ContractMismatch
from twinloop.tritonio.onnx_file import problems
from twinloop.tritonio.promise import unkept, unusable
from twinloop.tritonio.repository import publish

MADE = artefact_of("one", 1.0)
CONTRACT = replace(MADE.contract, version=1)

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no hop": ({"hop": 0}, "hop is 0, and must be 1 at least"),
    "a hop back": ({"hop": -1}, "hop is -1, and must be 1 at least"),
    "no window": ({"window": 0}, "window is 0, and must be 1 at least"),
    "no memory at all": ({"memory": -1}, "memory is -1"),
    "quiet before it began": ({"quiet": -1}, "quiet is -1"),
    "no threshold": ({"threshold": 1e300}, "the threshold 1e+300 is no float32"),
    "no signals": ({"signals": ()}, "there are no signals"),
    "a signal twice": ({"signals": ("a", "a")}, "signals come twice: a"),
    "a signal without a name": ({"signals": ("a", " ")}, "one of the signals has no name"),
    "no features": ({"features": ()}, "there are no features"),
    "a feature twice": ({"features": ("a", "b", "a")}, "features come twice: a"),
    "a column twice": ({"columns": ("level", "noise", "level")}, "columns come twice: level"),
    "a signal of no frame": ({"columns": ("level", "hum")}, "not among the columns of a frame: noise"),
    "no signal set": ({"signal_set": " "}, "the signal set has no name"),
    "a long name": ({"model": "m" * 101}, "is no name and version of a folder"),
}


def with_json(name: str, **other: Any) -> dict[str, bytes]:
    files = dict(pack(MADE))
    return {**files, name: msgspec.json.encode({**msgspec.json.decode(files[name]), **other})}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_contract_that_cannot_be_kept_is_refused(bad: tuple[dict[str, Any], str], tmp_path: Any) -> None:
    other, why = bad
    assert why in "; ".join(unkept(replace(CONTRACT, **other)))
    with pytest.raises(BadArtefact, match=r"^contract\.json: ") as caught:
        unpack(with_json("contract.json", **other))
    assert why in str(caught.value)
    with pytest.raises(ContractMismatch):
        publish(tmp_path, replace(CONTRACT, **other), MADE.onnx)


def test_one_that_reads_some_signals_of_a_frame_in_its_own_order_is_kept() -> None:
    some = replace(CONTRACT, columns=("noise", "hum", "level"), quiet=391)
    assert unkept(some) == []
    assert (CONTRACT.frame, some.frame) == (CONTRACT.signals, ("noise", "hum", "level"))


RAMP = [float(n) for n in QUANTILES]
BAD_CARDS = {
    "too few": ({"score": RAMP[:1]}, "its reference of 'score' has 1 values, not 21"),
    "none": ({"score": []}, "has 0 values"),
    "not in order": ({"score": RAMP[::-1]}, "does not ascend"),
    "of another": ({"hum": RAMP}, "which the model does not answer"),
}


@pytest.mark.parametrize("bad", BAD_CARDS.values(), ids=BAD_CARDS)
def test_a_card_that_drift_cannot_be_told_by_is_refused(bad: tuple[dict[str, list[float]], str]) -> None:
    reference, why = bad
    with pytest.raises(BadArtefact, match=r"^card\.json: ") as caught:
        unpack(with_json("card.json", reference=reference))
    assert why in str(caught.value)
    at_asset = {"plant.weld1": {"windows": 60, "quantiles": reference}}
    with pytest.raises(BadArtefact, match=r"^card\.json: ") as caught:
        unpack(with_json("card.json", by_asset=at_asset))
    assert why.replace("its reference", "its reference at 'plant.weld1'") in str(caught.value)


def test_a_reference_of_no_windows_is_refused() -> None:
    at_asset = {"plant.weld1": {"windows": 0, "quantiles": {"score": RAMP}}}
    with pytest.raises(BadArtefact, match="is of no windows"):
        unpack(with_json("card.json", by_asset=at_asset))


def test_a_reference_of_features_and_of_equal_values_is_one() -> None:
    made = replace(MADE.card, reference={MADE.contract.features[0]: tuple(RAMP), "score": (1.0,) * 21})
    assert unusable(made, MADE.contract) == []


def nested(depth: int, ends: str) -> bytes:
    """A card with a field of lists in lists that it does not know."""
    card = pack(MADE)["card.json"].rstrip()[:-1]
    return card + b',"x":' + b"[" * depth + b"]" * depth + ends.encode()


@pytest.mark.parametrize("card", [nested(5000, "}"), nested(100_000, ""), b"\xff" * 50])
def test_json_that_no_reader_follows_is_refused(card: bytes) -> None:
    with pytest.raises(BadArtefact, match=r"^card\.json: "):
        unpack({**pack(MADE), "card.json": card})


def test_a_file_whose_names_are_no_text_is_refused() -> None:
    spoilt = MADE.onnx.replace(b"deviations", b"\xffeviations")
    with pytest.raises(BadArtefact, match=r"^model\.onnx: "):
        unpack({**pack(MADE), "model.onnx": spoilt})


@given(st.integers(0, len(MADE.onnx)), st.integers(0, 20), st.binary(max_size=20))
def test_whatever_a_file_holds_it_is_answered(at: int, less: int, put: bytes) -> None:
    assert problems(CONTRACT, MADE.onnx) == []
    assert isinstance(problems(CONTRACT, MADE.onnx[:at] + put + MADE.onnx[at + less :]), list)
