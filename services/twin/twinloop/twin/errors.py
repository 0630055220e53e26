"""Why the twin does not do what a person asks for."""

from __future__ import annotations


class TwinError(Exception):
    """The root of this package's errors. The text is told to whoever asked."""


class NotKnown(TwinError):
    """Raised when there is no such asset or change. Operator action: look at the list."""


class NotHere(TwinError):
    """Raised when another member decides about the asset, or this one is not ready to.

    Operator action: ask again in some seconds, or ask the other twin.
    """


class Conflict(TwinError):
    """Raised when what is asked for does not fit what is in force. Operator action: the text says what."""
