"""Why modelops does not do what it is asked for."""

from __future__ import annotations

from enum import StrEnum


class ModelopsError(Exception):
    """The root of this package's errors. The text is told to whoever asked."""


class NotKnown(ModelopsError):
    """Raised when there is no such version or route. Operator action: look at the list."""


class Conflict(ModelopsError):
    """Raised when what is asked for does not fit what is in force. Operator action: the text says what."""


class NotHere(ModelopsError):
    """Raised when this process may not decide: another one holds the repository, or the topic of models could
    not be read to its end in time.

    Operator action: ask again in some seconds, or ask the other one.
    """


class TooLarge(ModelopsError):
    """Raised when an upload is larger than allowed.

    Operator action: fewer golden windows, or a higher TWINLOOP_MODELOPS_UPLOAD_BYTES.
    """


class Step(StrEnum):
    """The steps of staging, in their order."""

    UNPACK = "unpack"
    CHECK = "check"
    RUN = "run"
    COMPARE = "compare"
    LATENCY = "latency"
    PUBLISH = "publish"
    LOAD = "load"
    SERVE = "serve"


class Refused(ModelopsError):
    """Raised when an artefact does not pass a step of staging; nothing of it is left.

    Operator action: mend what the text names, and train or export the model again.
    """

    def __init__(self, step: Step, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step
