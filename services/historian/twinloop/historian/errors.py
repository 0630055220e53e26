"""What can go wrong here, named by what it means for the operator."""

from __future__ import annotations


class HistorianError(Exception):
    """Root of every error raised by `twinloop.historian`."""


class ForeignFolder(HistorianError):
    """Raised when the files of a partition reach beyond its end: they are of another topic of that name.

    Operator action: the topic was created anew, or the cluster is another one; move the folder away or set
    another `TWINLOOP_HISTORIAN_FOLDER`. Going on would mix two histories in one folder.
    """


class Unwritable(HistorianError):
    """Raised when a file could not be written. Nothing is lost: its records are read from Kafka again.

    Operator action: look for a full disk, a missing volume or wrong permissions.
    """
