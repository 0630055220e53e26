"""What can go wrong at the line, named by what it means for a change."""

from __future__ import annotations


class LineError(Exception):
    """Root of every error raised by `twinloop.line`."""


class PlcUnavailable(LineError):
    """Raised when the device does not answer. Whether it acted on a command is unknown.

    Operator action: see whether the PLC runs and can be reached. Changes wait until they expire.
    """


class PlcRefused(LineError):
    """Raised when the device refuses a command; `code` is the name of the OPC UA status code.

    Operator action: the code says which of the device's own rules was broken; the change has failed.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NotKilled(LineError):
    """Raised when a kill switch is to be cleared that is not set.

    Operator action: look at `GET /stations`; each station may have one of its own.
    """


class CertificateUnusable(LineError):
    """Raised when our certificate, its key or the folder of trusted ones is missing or is none.

    Operator action: make them with `make certs`, or name the right files.
    """
