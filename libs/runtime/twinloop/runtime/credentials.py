"""Certificates, keys and passwords: files, read when they are needed, and told to nobody."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path


class AccessUnusable(ValueError):
    """Raised when a file with a certificate, key or password is not what it should be.

    Operator action: the text names the file; mend or replace it.
    """


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom we believe (`None`: those whom this machine believes), and our own certificate, if any."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or later; the other side's certificate and name are verified. Raises `AccessUnusable`."""
        try:
            made = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ca_file)
        except (OSError, ValueError) as error:
            raise AccessUnusable(
                f"{self.ca_file} holds no certificates of authorities: {_why(error)}"
            ) from None
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            try:
                # Without a password to give, a key that needs one must not be asked for at a terminal.
                made.load_cert_chain(self.cert_file, self.key_file, password=lambda: b"")
            except (OSError, ValueError) as error:
                raise AccessUnusable(
                    f"{self.cert_file} and {self.key_file} are no certificate and its key (PEM,"
                    f" the key without a password): {_why(error)}"
                ) from None
        return made


def secret_of(path: Path) -> str:
    """The one line of a file. Raises `AccessUnusable`, which tells nothing of it."""
    try:
        text = path.read_text().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise AccessUnusable(f"{path} cannot be read: {why}") from None
    if not text or "\n" in text:
        raise AccessUnusable(f"{path} must hold a secret in one line")
    return text


def _why(error: Exception) -> str:
    """OpenSSL's word for it, without the place in its sources."""
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "it is no PEM").lower().replace("_", " ")
    return getattr(error, "strerror", None) or "it is no PEM"
