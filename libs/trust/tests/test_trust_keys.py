"""Keys: what was signed is believed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.trust.errors import Forged, KeyUnusable
from twinloop.trust.keys import Signer, Trusted

SIGNER = Signer.generate()
TRUSTED = Trusted([SIGNER.public])


@given(st.binary())
def test_what_was_signed_is_believed(data: bytes) -> None:
    TRUSTED.verify(data, SIGNER.sign(data), SIGNER.key_id)


@given(st.binary(min_size=1), st.integers(min_value=0), st.integers(1, 255))
def test_one_changed_bit_is_found(data: bytes, place: int, flip: int) -> None:
    changed = bytearray(data)
    changed[place % len(data)] ^= flip
    with pytest.raises(Forged):
        TRUSTED.verify(bytes(changed), SIGNER.sign(data), SIGNER.key_id)


@pytest.mark.parametrize("signature", ["", "no base64!", "AAAA", "é"])
def test_what_is_no_signature_is_forged(signature: str) -> None:
    with pytest.raises(Forged):
        TRUSTED.verify(b"data", signature, SIGNER.key_id)


def test_another_ones_signature_is_forged() -> None:
    other = Signer.generate()
    with pytest.raises(Forged, match="nobody trusted"):
        TRUSTED.verify(b"data", other.sign(b"data"), other.key_id)
    with pytest.raises(Forged, match="not that of key"):
        TRUSTED.verify(b"data", other.sign(b"data"), SIGNER.key_id)


def test_keys_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "private.key.pem").write_bytes(SIGNER.private_pem())
    public = tmp_path / "public"
    public.mkdir()
    (public / "twin.pem").write_bytes(SIGNER.public_pem())
    signer = Signer.load(tmp_path / "private.key.pem")
    for path in (public, public / "twin.pem"):
        Trusted.load(path).verify(b"data", signer.sign(b"data"), signer.key_id)


def test_files_that_are_no_keys_are_named(tmp_path: Path) -> None:
    (tmp_path / "twin.pem").write_bytes(SIGNER.private_pem())
    with pytest.raises(KeyUnusable, match=r"twin\.pem"):
        Trusted.load(tmp_path)
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(KeyUnusable, match="nothing would be believed"):
        Trusted.load(empty)
    with pytest.raises(KeyUnusable, match="cannot be used"):
        Signer.load(tmp_path / "missing.pem")
