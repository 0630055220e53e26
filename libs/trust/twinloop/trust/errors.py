"""What can be wrong with a signature, a key or a person."""

from __future__ import annotations


class TrustError(Exception):
    """The root of this package's errors."""


class KeyUnusable(TrustError):
    """Raised when a key file is missing or holds no key of the expected kind.

    Operator action: make keys with `make certs`, or name the right file.
    """


class Forged(TrustError):
    """Raised when a signature was not made by a trusted key over exactly these bytes.

    Operator action: find out who writes to the topic `changes`; only the twin's key releases commands.
    """
