"""A certificate authority for one machine, and the certificates that it gives out (PEM).

For what speaks TLS with names, such as Kafka and MQTT. OPC UA has no authority here: see `certs`. Keys are
P-256, readable for their owner alone, and for local use: a plant has an authority of its own.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LASTS = timedelta(days=365)
RENEWED_BEFORE = timedelta(days=30)
"""A certificate that ends sooner than this is made anew, and with that of the authority all others."""
_SKEW = timedelta(minutes=5)


class Authority:
    """The authority whose key lies in `folder`: `ca.pem`, `ca.key.pem`. Made where it is not there yet."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self.certificates = folder / "ca.pem"
        self._now = now
        key_file = folder / "ca.key.pem"
        if _is_good(self.certificates, key_file, now, None):
            self._key = _load_key(key_file)
            self._own = x509.load_pem_x509_certificate(self.certificates.read_bytes())
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._own = self._sign("Twinloop local authority", self._key.public_key(), None)
        write(key_file, _pem(self._key), private=True)
        write(self.certificates, self._own.public_bytes(Encoding.PEM))

    def issue(self, folder: Path, name: str, hosts: Sequence[str] = ()) -> bool:
        """`<name>.cert.pem` and `<name>.key.pem`, for a server or a client on this machine, or on `hosts`,
        whose common name is `name`. What is there and good stays; whether they were made."""
        certificate, key_file = folder / f"{name}.cert.pem", folder / f"{name}.key.pem"
        if _is_good(certificate, key_file, self._now, self._own) and _hosts(certificate) >= set(hosts):
            return False
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(name, key.public_key(), self._own.subject, hosts)
        write(key_file, _pem(key), private=True)
        write(certificate, made.public_bytes(Encoding.PEM))
        return True

    def _sign(
        self,
        name: str,
        public: ec.EllipticCurvePublicKey,
        issuer: x509.Name | None,
        hosts: Sequence[str] = (),
    ) -> x509.Certificate:
        """Without an `issuer` the authority's own."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        own = issuer is None
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _SKEW)
            .not_valid_after(self._now + LASTS)
            .add_extension(x509.BasicConstraints(ca=own, path_length=0 if own else None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not own,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=own,
                    crl_sign=own,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if not own:
            names = [x509.DNSName(one) for one in ("localhost", *hosts)]
            here = [*names, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            uses = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            builder = builder.add_extension(x509.SubjectAlternativeName(here), critical=False).add_extension(
                x509.ExtendedKeyUsage(uses), critical=False
            )
        return builder.sign(self._key, hashes.SHA256())


def write(file: Path, content: bytes, *, private: bool = False) -> None:
    """Complete or not at all, and never readable for others in between."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.unlink(missing_ok=True)
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
    if not private:
        aside.chmod(0o644)
    aside.replace(file)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{file} holds no P-256 key")
    return key


def _hosts(certificate: Path) -> set[str]:
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names.get_values_for_type(x509.DNSName))


def _is_good(certificate: Path, key_file: Path, now: datetime, issuer: x509.Certificate | None) -> bool:
    try:
        key, made = _load_key(key_file), x509.load_pem_x509_certificate(certificate.read_bytes())
        made.verify_directly_issued_by(made if issuer is None else issuer)
    except Exception:  # noqa: BLE001  # whatever is wrong with them: they are made anew
        return False
    return (
        key.public_key() == made.public_key()
        and made.not_valid_before_utc <= now
        and made.not_valid_after_utc >= now + RENEWED_BEFORE
    )
