"""What can go wrong in the detector."""

from __future__ import annotations


class DetectorError(Exception):
    """Root of every error raised by `twinloop.detector`."""


class Stopped(DetectorError):
    """Raised when the service is told to stop while a batch waits for Triton.

    The batch was not committed: the next owner of its partitions reads it again. No operator action.
    """
