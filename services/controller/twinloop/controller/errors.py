"""The errors of the controller, named by meaning."""

from __future__ import annotations


class ControllerError(Exception):
    """Root of every error raised by `twinloop.controller`."""


class MisplacedRecord(ControllerError):
    """Raised when a record's key is not the asset that its event names; it ends in `dead-letters`.

    Operator action: mend its publisher. A station's records share a partition, and so a state, by their key.
    """


class TooManyDeadLetters(ControllerError):
    """Raised when so many records in a row could not be folded that the fault is likely our own.

    Operator action: look at the last dead letters, then roll this service back, or mend the publisher.
    """


class StreamEnded(ControllerError):
    """Raised when Faust gave up, with its reason as the cause.

    Operator action: none when a supervisor restarts the service: state comes back from the changelog.
    When it names a persisted offset beyond the changelog, the data folder belongs to another cluster:
    empty it.
    """
