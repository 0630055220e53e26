"""Keys, certificates and people: all are there, nobody else reads what is private, and what is good stays."""

from __future__ import annotations

import hashlib
import stat
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from twinloop.local.errors import CannotStart
from twinloop.local.keys.authority import LASTS, RENEWED_BEFORE
from twinloop.local.keys.certs import main, make
from twinloop.trust.keys import Signer, Trusted

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LAYOUT = {
    "opcua/line.cert.der",
    "opcua/line.key.pem",
    "opcua/plc.cert.der",
    "opcua/plc.key.pem",
    "opcua/trusted-by-line/plc.cert.der",
    "opcua/trusted-by-plc/line.cert.der",
    "signing/twin.key.pem",
    "signing/trusted/twin.pem",
    "people.toml",
    "tokens/vera.token",
    "tokens/olga.token",
    "tokens/otto.token",
    "tokens/enzo.token",
    "tokens/dana.token",
    "senders/plant.token",
}
PRIVATE = {name for name in LAYOUT if name.endswith((".key.pem", ".token"))}


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(one.relative_to(folder)): one.read_bytes()
        for one in folder.rglob("*")
        if one.is_file() and one.name != ".lock"
    }


def check_party(folder: Path, party: str) -> x509.Certificate:
    certificate = x509.load_der_x509_certificate((folder / f"opcua/{party}.cert.der").read_bytes())
    key = load_pem_private_key((folder / f"opcua/{party}.key.pem").read_bytes(), None)
    assert certificate.public_key() == key.public_key()
    return certificate


def check_trust(folder: Path) -> None:
    for party, peer in (("line", "plc"), ("plc", "line")):
        [trusted] = (folder / f"opcua/trusted-by-{party}").iterdir()
        assert trusted.read_bytes() == (folder / f"opcua/{peer}.cert.der").read_bytes()


def check_signing(folder: Path) -> None:
    signer = Signer.load(folder / "signing/twin.key.pem")
    Trusted.load(folder / "signing/trusted").verify(b"a command", signer.sign(b"a command"), signer.key_id)


def check_people(folder: Path) -> None:
    text = (folder / "people.toml").read_text()
    people = tomllib.loads(text)["people"]
    assert {one["name"]: one["role"] for one in people} == {
        "vera": "viewer",
        "olga": "operator",
        "otto": "operator",
        "enzo": "engineer",
        "dana": "data_scientist",
        "plant": "sender",
    }
    tokens = {one.stem: one.read_text().strip() for one in folder.glob("*/*.token")}
    assert len(set(tokens.values())) == 6
    for one in people:
        token = tokens[one["name"]]
        assert len(token) >= 40
        assert token not in text
        assert one["token_sha256"] == hashlib.sha256(token.encode()).hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: nothing here changes it."""
    folder = tmp_path_factory.mktemp("certs") / "new"
    assert make(folder, NOW)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    for name, content in files(made).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_the_layout(made: Path) -> None:
    assert set(files(made)) == LAYOUT


def test_nobody_else_reads_keys_and_tokens(made: Path) -> None:
    modes = {name: stat.S_IMODE((made / name).stat().st_mode) for name in LAYOUT}
    assert {name for name, mode in modes.items() if mode == 0o600} == PRIVATE


@pytest.mark.parametrize(
    ("party", "use"),
    [
        ("line", x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH),
        ("plc", x509.oid.ExtendedKeyUsageOID.SERVER_AUTH),
    ],
)
def test_a_certificate_fits_its_party_and_key(made: Path, party: str, use: x509.ObjectIdentifier) -> None:
    certificate = check_party(made, party)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"urn:twinloop:{party}"]
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [use]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_before_utc <= NOW < certificate.not_valid_after_utc == NOW + LASTS


def test_each_side_trusts_the_other_and_nobody_else(made: Path) -> None:
    check_trust(made)


def test_what_the_twin_signs_is_believed(made: Path) -> None:
    check_signing(made)


def test_people_have_roles_and_tokens_that_the_file_does_not_tell(made: Path) -> None:
    check_people(made)


def test_what_is_good_stays(copy: Path) -> None:
    before = files(copy)
    assert make(copy, NOW + LASTS - RENEWED_BEFORE) == []
    assert files(copy) == before


@pytest.mark.parametrize("name", sorted(name for name in LAYOUT if name.startswith(("opcua/", "signing/"))))
def test_what_is_missing_is_made_and_fits_again(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert make(copy, NOW)
    assert set(files(copy)) == LAYOUT
    for party in ("line", "plc"):
        check_party(copy, party)
    check_trust(copy)
    check_signing(copy)
    assert make(copy, NOW) == []


def test_a_certificate_that_soon_ends_is_made_anew_and_trusted(copy: Path) -> None:
    before, later = files(copy), NOW + LASTS - RENEWED_BEFORE + timedelta(seconds=1)
    assert make(copy, later)
    after = files(copy)
    assert {name for name in LAYOUT if before[name] != after[name]} == {
        name for name in LAYOUT if name.startswith("opcua/")
    }
    check_trust(copy)


def test_a_certificate_of_another_key_is_made_anew(copy: Path) -> None:
    (copy / "opcua/line.key.pem").write_bytes((copy / "opcua/plc.key.pem").read_bytes())
    make(copy, NOW)
    check_party(copy, "line")


def test_who_was_taken_out_of_the_people_stays_out(copy: Path) -> None:
    (copy / "people.toml").write_text('[[people]]\nname = "ada"\nrole = "viewer"\ntoken_sha256 = "00"\n')
    assert make(copy, NOW) == []
    assert "olga" not in (copy / "people.toml").read_text()


def test_a_former_version_knew_no_senders(copy: Path) -> None:
    (copy / "senders/plant.token").unlink()
    everybody = (copy / "people.toml").read_text()
    people = everybody[: everybody.index('[[people]]\nname = "plant"')]
    (copy / "people.toml").write_text(people)
    assert make(copy, NOW)
    check_people(copy)
    assert (copy / "people.toml").read_text().startswith(people)
    assert make(copy, NOW) == []


def test_a_run_that_was_cut_off_before_the_people_is_made_good(copy: Path) -> None:
    (copy / "people.toml").unlink()
    make(copy, NOW)
    check_people(copy)


def test_a_signing_key_that_is_none_is_not_replaced(copy: Path) -> None:
    (copy / "signing/twin.key.pem").write_text("not a key")
    with pytest.raises(CannotStart, match=r"twin\.key\.pem"):
        make(copy, NOW)
    assert (copy / "signing/twin.key.pem").read_text() == "not a key"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--into", str(tmp_path / "certs")]) == 0
    said = capsys.readouterr().out
    assert "olga" in said
    for token in (tmp_path / "certs/tokens").iterdir():
        assert token.read_text().strip() not in said
    (tmp_path / "file").touch()
    assert main(["--into", str(tmp_path / "file")]) == 2
    assert "cannot hold keys" in capsys.readouterr().err
