"""What ends a command. The text is one sentence for the person at the terminal: what is wrong, what to do."""

from __future__ import annotations


class CliError(Exception):
    """The root of this package's errors. `status` is that of the process."""

    status = 2


class Unusable(CliError):
    """Raised when an address, a token, a file or an answer cannot be used.

    Operator action: do what the text says.
    """


class Away(CliError):
    """Raised when a service does not answer. Operator action: see whether it runs, and at which address."""


class Refused(CliError):
    """Raised when a service refuses what was asked, and says why.

    Operator action: the text says what is in the way.
    """

    status = 1
