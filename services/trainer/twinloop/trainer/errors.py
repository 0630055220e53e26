"""What can go wrong while a model is fitted and put into service."""

from __future__ import annotations


class TrainerError(Exception):
    """Root of every error raised by `twinloop.trainer`."""


class TooFewWindows(TrainerError):
    """Raised when the recording does not hold as many windows as were asked for, in the time allowed.

    Operator action: see whether the asset runs and whether the historian keeps up, or ask for fewer.
    """


class UnfitData(TrainerError):
    """Raised when no model can be fitted on the windows: they are not alike, or hold what is no number.

    Operator action: record the asset again while it is healthy.
    """


class BadRecording(TrainerError):
    """Raised when a file is not what it should be; the text names file and line.

    Operator action: name the folder that holds the recording, or mend the file.
    """


class NotAsFitted(TrainerError):
    """Raised when a served model answers otherwise than it was fitted. It is not announced.

    Operator action: keep the version's folder for whoever mends the export; the version before it serves on.
    """


class NotScored(TrainerError):
    """Raised when verdicts are missing: the detector has not judged everything in the time allowed.

    Operator action: look at the detector's log and at `dead-letters`.
    """
