"""What can be wrong with an audit store."""

from __future__ import annotations


class AuditError(Exception):
    """The root of this package's errors."""


class AuditAway(AuditError):
    """Raised when an entry could not be written: nobody may act, because nobody would be told.

    Operator action: look for a full disk, a missing volume, wrong permissions or a second process that
    writes the same store. The service tries again by itself and says in the store that it was away.
    """


class ChainBroken(AuditAway):
    """Raised when what is in the file cannot be continued: its end is no entry, was cut, or was replaced.

    Operator action: `twinloop audit verify` names the lines. Keep the file as evidence: move it away, with
    the `.kept` file beside it, and only then start the service again.
    """
