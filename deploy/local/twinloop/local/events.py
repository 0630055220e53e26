"""What a stack tells while it works, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What happened."""

    STARTING = "starting"
    READY = "ready"
    STOPPED = "stopped"
    UP = "up"  # everything is ready
    FAILED = "failed"  # the whole stack gives up; `text` says why
    DOWN = "down"  # everything is stopped


@dataclass(frozen=True)
class Event:
    kind: Kind
    name: str = ""
    text: str = ""
    took_s: float = 0.0
    exit_code: int = 0


Listener = Callable[[Event], None]


def nobody(event: Event) -> None:
    """For a stack that nobody watches."""
