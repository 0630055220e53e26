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


class PeopleUnusable(TrustError):
    """Raised when it cannot be told who people are: a file or the issuer's keys cannot be read.

    Operator action: mend the file that is named (`make certs` writes one), or see why the issuer's keys are
    not there.
    """


class NotAuthenticated(TrustError):
    """Raised when a request does not say believably who makes it. Operator action: send another token."""


class NotAllowed(TrustError):
    """Raised when a person's role does not reach. Operator action: let somebody do it whose role does."""
