"""What a release must be: signed by a trusted key over exactly the proposal, new, and of the present."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.line import NOW, SIGNER, approved, envelope, hold, power, proposal

from twinloop.contracts.changes import Approved, Envelope, Proposed, SetParameter
from twinloop.contracts.codec import decode
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import CHANGES
from twinloop.line.envelope import Objection, objection
from twinloop.trust.keys import Signer, Trusted

TRUSTED = Trusted([SIGNER.public])
CHANGED = msgspec.structs.replace


def check(
    told: Approved, of: Proposed | None = None, *, handled: int = 0, out_of_order: bool = False
) -> Objection | None:
    return objection(
        of or proposal(), told, trusted=TRUSTED, handled=handled, out_of_order=out_of_order, now=NOW
    )


@pytest.mark.parametrize("of", [proposal(), proposal(action=hold()), proposal(rollback_of="c0")])
def test_what_the_twin_released_is_believed_also_after_its_journey(of: Proposed) -> None:
    told = decode(CHANGES, msgspec.json.encode(approved(envelope(of))))
    assert check(told, decode(CHANGES, msgspec.json.encode(of))) is None


OTHER: dict[str, Any] = {
    "command_id": "c2",
    "asset": "acme.berlin.packs.line1.weld2",
    "action": power(1021.0),
    "unit": "kW",
    "recipe": "other",
    "model": "other",
    "model_version": 2,
    "input_digest": "0" * 64,
    "mode": Mode.SUPERVISED,
    "rollback_of": "c0",
}


@pytest.mark.parametrize("name", list(OTHER))
def test_an_envelope_that_says_otherwise_than_the_proposal_is_forged_however_well_signed(name: str) -> None:
    one = CHANGED(envelope(proposal()), **{name: OTHER[name]})
    found = check(approved(one, change_id="c1"))
    assert found is not None
    assert found.forged


@pytest.mark.parametrize("name", [*OTHER, "sequence", "issued_at", "expires_at", "approver"])
def test_an_envelope_that_was_altered_after_it_was_signed_is_forged(name: str) -> None:
    told = approved(envelope(proposal()))
    other = {
        **OTHER,
        "sequence": 9,
        "approver": "person:eve",
        "issued_at": NOW - timedelta(seconds=1),
        "expires_at": NOW + timedelta(days=1),
    }[name]
    found = check(CHANGED(told, envelope=CHANGED(told.envelope, **{name: other})))
    assert found is not None
    assert (found.forged, "signature" in found.reason) == (True, True)


def test_every_field_of_the_envelope_is_tried_above() -> None:
    tried = {*OTHER, "sequence", "issued_at", "expires_at", "approver"}
    assert tried == set(Envelope.__struct_fields__)


def test_another_ones_signature_and_another_ones_name_are_forged() -> None:
    mallory = Signer.generate()
    told = approved(envelope(proposal()), mallory)
    for one in (told, CHANGED(told, key_id=SIGNER.key_id), CHANGED(told, signature="no base64")):
        found = check(one)
        assert found is not None
        assert found.forged
    told = approved(envelope(proposal()))
    found = check(CHANGED(told, approver="person:eve"))
    assert found is not None
    assert "approver" in found.reason


@pytest.mark.parametrize(
    ("sequence", "handled", "out_of_order", "forged"),
    [(1, 0, False, None), (3, 1, False, None), (3, 3, True, True), (2, 3, True, True), (2, 3, False, False)],
)
def test_a_sequence_number_comes_once_and_grows(
    sequence: int, handled: int, out_of_order: bool, forged: bool | None
) -> None:
    found = check(approved(envelope(proposal(), sequence)), handled=handled, out_of_order=out_of_order)
    assert (None if found is None else found.forged) == forged


@pytest.mark.parametrize(("ahead_s", "fine"), [(-3.0, True), (1.0, True), (1.1, False), (3600.0, False)])
def test_what_is_of_the_future_is_refused(ahead_s: float, fine: bool) -> None:
    told = approved(envelope(proposal(), at=NOW + timedelta(seconds=ahead_s)))
    assert (check(told) is None) == fine


@pytest.mark.parametrize(("valid_s", "fine"), [(0.001, True), (0.0, False), (-5.0, False)])
def test_an_envelope_that_is_valid_at_no_time_is_none(valid_s: float, fine: bool) -> None:
    assert (check(approved(envelope(proposal(), valid_s=valid_s))) is None) == fine


@given(st.floats(allow_nan=False), st.floats(allow_nan=False), st.integers(1, 2**40))
def test_any_other_value_than_the_proposed_one_is_found(value: float, other: float, sequence: int) -> None:
    of = proposal(action=SetParameter(parameter=power(1).parameter, value=value, expected=1000.0))
    one = CHANGED(envelope(of, sequence), action=CHANGED(of.action, value=other))
    assert (check(approved(one), of) is None) == (value == other)
