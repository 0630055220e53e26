"""`python -m twinloop.local.keys.certs --into <folder>`: keys, certificates and people of one local stack.

    opcua/    line.cert.der line.key.pem plc.cert.der plc.key.pem
              trusted-by-line/plc.cert.der trusted-by-plc/line.cert.der
    signing/  twin.key.pem trusted/twin.pem
    people.toml  tokens/<name>.token  senders/<name>.token

There is no authority: each party has a certificate that it signed itself, and a folder of those it trusts.
What is there and good stays, so the same command may run at every start; a certificate that soon ends is made
anew. Whoever may read the private keys and tokens may act as their owner: they are 0600, and for local use.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import ipaddress
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from twinloop.local.errors import CannotStart
from twinloop.local.keys.authority import LASTS, RENEWED_BEFORE, write
from twinloop.trust.errors import KeyUnusable
from twinloop.trust.keys import Signer

PEOPLE = {
    "vera": "viewer",
    "olga": "operator",
    "otto": "operator",
    "enzo": "engineer",
    "dana": "data_scientist",
}
"""Who may do what on a local stack."""
SENDERS = {"plant": "sender"}
"""Programs that may tell ingest over HTTP; people are not handed their tokens."""
PARTIES = {"line": ExtendedKeyUsageOID.CLIENT_AUTH, "plc": ExtendedKeyUsageOID.SERVER_AUTH}
"""Who speaks OPC UA, and as what. A party's application URI is `urn:twinloop:<party>`."""
TRUSTS = {"line": "plc", "plc": "line"}

_KEY_BITS = 2048


def make(folder: Path, now: datetime) -> list[str]:
    """Make what `folder` lacks at `now` (aware); what was made, in words.

    Raises `CannotStart` when something there is not what it should be, or the folder cannot be written.
    """
    try:
        _folder(folder)
        with _alone(folder / ".lock"):
            made = [
                *(line for party in PARTIES for line in _certify(folder / "opcua", party, now)),
                *_trust(folder / "opcua"),
                *_signing(folder / "signing"),
                *_people(folder),
            ]
    except OSError as error:
        raise CannotStart(f"{folder} cannot hold keys and certificates: {error}") from error
    return made


def _certify(folder: Path, party: str, now: datetime) -> list[str]:
    """A key and a certificate for `party`, unless both are there and fit."""
    key_file, certificate_file = folder / f"{party}.key.pem", folder / f"{party}.cert.der"
    if _is_good(key_file, certificate_file, party, now):
        key_file.chmod(0o600)
        return []
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write(key_file, pem, private=True)
    write(certificate_file, certificate(party, key, now).public_bytes(Encoding.DER))
    return [f"{certificate_file} and its key"]


def _is_good(key_file: Path, certificate_file: Path, party: str, now: datetime) -> bool:
    try:
        key = load_pem_private_key(key_file.read_bytes(), None)
        made = x509.load_der_x509_certificate(certificate_file.read_bytes())
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return (
        key.public_key() == made.public_key()
        and _uri(party) in names.get_values_for_type(x509.UniformResourceIdentifier)
        and made.not_valid_before_utc <= now
        and made.not_valid_after_utc >= now + RENEWED_BEFORE
    )


def certificate(party: str, key: rsa.RSAPrivateKey, now: datetime) -> x509.Certificate:
    """The self-signed certificate of `party`, one of `PARTIES`, as OPC 10000-6 wants it of an application."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Twinloop {party}")])
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        # Clocks of one plant differ a little.
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + LASTS)
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.UniformResourceIdentifier(_uri(party)),
                    x509.DNSName("localhost"),
                    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
                ]
            ),
            critical=False,
        )
        # No authority: nobody can make further certificates with this one's key that are trusted.
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=True,
                key_encipherment=True,
                data_encipherment=True,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([PARTIES[party]]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )


def _uri(party: str) -> str:
    return f"urn:twinloop:{party}"


def _trust(folder: Path) -> list[str]:
    made = []
    for party, peer in TRUSTS.items():
        trusted = folder / f"trusted-by-{party}" / f"{peer}.cert.der"
        made += _keep(trusted, (folder / f"{peer}.cert.der").read_bytes())
    return made


def _signing(folder: Path) -> list[str]:
    """The key that the twin signs released commands with, and the public one that the line believes."""
    key_file = folder / "twin.key.pem"
    made = []
    if not key_file.exists():
        write(key_file, Signer.generate().private_pem(), private=True)
        made.append(str(key_file))
    try:
        signer = Signer.load(key_file)
    except KeyUnusable as error:
        raise CannotStart(f"{error}. Remove it to have a new one made.") from error
    key_file.chmod(0o600)
    return made + _keep(folder / "trusted" / "twin.pem", signer.public_pem())


def _people(folder: Path) -> list[str]:
    """People, senders, their tokens, once: who was taken out of the file, or got another token, stays so."""
    file = folder / "people.toml"
    if not file.exists():
        text = _entries(folder, "tokens", PEOPLE) + _entries(folder, "senders", SENDERS)
        whose = ", ".join([*PEOPLE, *SENDERS])
    elif all((folder / "senders" / f"{name}.token").exists() for name in SENDERS):
        return []
    else:  # of a former version, which knew no senders
        text, whose = f"{file.read_text()}\n{_entries(folder, 'senders', SENDERS)}", ", ".join(SENDERS)
    # Last: without the file, a run that was cut off is made good by the next one.
    write(file, text.encode())
    return [f"{file} and the tokens of {whose}"]


def _entries(folder: Path, where: str, roles: Mapping[str, str]) -> str:
    """New tokens in `where`, and what the file of people says of them."""
    entries = []
    for name, role in roles.items():
        token = secrets.token_urlsafe(32)
        write(folder / where / f"{name}.token", f"{token}\n".encode(), private=True)
        digest = hashlib.sha256(token.encode()).hexdigest()
        entries.append(f'[[people]]\nname = "{name}"\nrole = "{role}"\ntoken_sha256 = "{digest}"\n')
    return "\n".join(entries)


def _keep(file: Path, content: bytes) -> list[str]:
    if file.exists() and file.read_bytes() == content:
        return []
    write(file, content)
    return [str(file)]


def _folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """One at a time: a key of one run with the certificate of another would fit nothing."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m twinloop.local.keys.certs",
        description="Make the keys, certificates and people of a local stack; what is there stays.",
    )
    parser.add_argument("--into", type=Path, required=True, metavar="FOLDER")
    folder = parser.parse_args(arguments).into
    try:
        made = make(folder, datetime.now(UTC))
    except CannotStart as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    for one in made:
        print(f"made {one}")
    print(f"{folder} has all keys and certificates, and the tokens of {', '.join(PEOPLE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
