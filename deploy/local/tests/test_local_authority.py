"""The local authority: its certificates fit, last, are made anew in time, and their keys are private."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from twinloop.local.keys.authority import LASTS, RENEWED_BEFORE, Authority

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def certificate(folder: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / f"{name}.cert.pem").read_bytes())


def test_what_is_there_and_good_stays(tmp_path: Path) -> None:
    assert Authority(tmp_path, NOW).issue(tmp_path, "broker")
    before = {one: one.read_bytes() for one in tmp_path.iterdir()}
    assert not Authority(tmp_path, NOW + timedelta(days=1)).issue(tmp_path, "broker")
    assert {one: one.read_bytes() for one in tmp_path.iterdir()} == before
    for one in tmp_path.glob("*.key.pem"):
        assert one.stat().st_mode & 0o077 == 0


def test_a_certificate_says_who_has_it_and_comes_from_the_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path, NOW)
    authority.issue(tmp_path, "acme.detector")
    made = certificate(tmp_path, "acme.detector")
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificates.read_bytes()))
    assert made.subject.rfc4514_string() == "CN=acme.detector"
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_one_that_ends_soon_or_is_anothers_is_made_anew(tmp_path: Path) -> None:
    Authority(tmp_path, NOW).issue(tmp_path, "broker")
    later = NOW + LASTS - RENEWED_BEFORE + timedelta(minutes=1)
    assert Authority(tmp_path, later).issue(tmp_path, "broker")
    (tmp_path / "ca.pem").unlink()
    assert Authority(tmp_path, later).issue(tmp_path, "broker")
    (tmp_path / "broker.key.pem").write_text("no key")
    assert Authority(tmp_path, later).issue(tmp_path, "broker")
