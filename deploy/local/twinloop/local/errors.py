"""What can go wrong when parts and services are started on one machine."""

from __future__ import annotations


class LocalError(Exception):
    """Root of this package's errors. The text is one sentence (or a few) for the person at the terminal."""

    exit_code = 1


class CannotStart(LocalError):
    """Raised when something must be put right before anything can start.

    Operator action: do what the sentence says, then run the same command again.
    """

    exit_code = 2


class PartDied(LocalError):
    """Raised when a part or service ended by itself, or was not ready within its deadline.

    Operator action: read the log lines that come with it; the whole log file is named there too.
    """

    def __init__(self, name: str, reason: str, log_path: str, last_lines: list[str]) -> None:
        self.name = name
        self.reason = reason
        self.log_path = log_path
        self.last_lines = last_lines
        shown = "\n".join(f"  | {line}" for line in last_lines) or "  | (its log is empty)"
        super().__init__(f"{name} {reason}. The last lines of {log_path}:\n{shown}")
