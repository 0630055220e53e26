"""Basic256Sha256, signed and encrypted: who we are to the PLC's server, and whom we believe to be it.

Certificates are self-signed or of a CA; the folder of trusted ones decides. asyncua's client asks its
validator about the very certificate that the secure channel was opened with, before it sends anything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from asyncua.client.client import Client
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from cryptography import x509

from twinloop.line.errors import CertificateUnusable


@dataclass(frozen=True, slots=True)
class Security:
    """Our certificate (DER), its key (a name that ends in .pem), and the folder of trusted certificates."""

    certificate: Path
    key: Path
    trusted: Path

    def application_uri(self) -> str:
        """What our certificate calls us. Raises `CertificateUnusable` when it does not."""
        try:
            data = self.certificate.read_bytes()
            made = (
                x509.load_pem_x509_certificate(data)
                if data.startswith(b"-----")
                else x509.load_der_x509_certificate(data)
            )
            names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        except (OSError, ValueError, x509.ExtensionNotFound) as error:
            raise CertificateUnusable(f"{self.certificate} cannot be used: {error}") from error
        if not uris:
            raise CertificateUnusable(f"{self.certificate} has no application URI among its names")
        return uris[0]


async def secure(client: Client, security: Security) -> None:
    """Prepare `client` before it connects. Raises `CertificateUnusable`, or what asyncua says."""
    if not security.key.is_file() or not security.trusted.is_dir():
        raise CertificateUnusable(f"{security.key} is no file, or {security.trusted} is no folder")
    client.application_uri = security.application_uri()
    store = TrustStore([security.trusted], [])
    await store.load()
    options = CertificateValidatorOptions.TRUSTED_VALIDATION | CertificateValidatorOptions.PEER_SERVER
    client.certificate_validator = CertificateValidator(options, store).validate
    await client.set_security(
        SecurityPolicyBasic256Sha256, certificate=security.certificate, private_key=security.key
    )
