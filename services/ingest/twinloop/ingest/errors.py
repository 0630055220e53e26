"""The errors of ingest, named by meaning."""

from __future__ import annotations

from twinloop.contracts.deadletters import Reason


class IngestError(Exception):
    """Root of every error raised by `twinloop.ingest`."""


class Refused(IngestError):
    """Raised when input cannot become telemetry; it ends in `dead-letters` with this reason and detail.

    Operator action: read the dead letter's detail and mend its sender; nothing stops meanwhile.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class BadCatalogue(IngestError):
    """Raised when two signal sets share a name, or one of them cannot be used as asked.

    Operator action: mend the file that `TWINLOOP_INGEST_SIGNAL_SETS` (or `--signal-sets`) points to.
    """


class BadSource(IngestError):
    """Raised when a folder or file given for replay holds nothing that can be sent.

    Operator action: check the path, the delimiter and the names of the columns.
    """
