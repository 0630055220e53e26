"""How far Twinloop may go at an asset."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """From nothing to everything; each includes what those before it allow."""

    OFF = "off"
    """Diagnose and count."""
    SHADOW = "shadow"
    """Compute what would be proposed, and write it down."""
    SUPERVISED = "supervised"
    """Propose; a person approves each change."""
    AUTO = "auto"
    """Propose; the twin releases what it can answer for, a person the rest."""

    @property
    def rank(self) -> int:
        """0 for `OFF` up to 3 for `AUTO`."""
        return list(Mode).index(self)

    @property
    def acts(self) -> bool:
        """Whether changes are proposed."""
        return self.rank >= Mode.SUPERVISED.rank


def lower(one: Mode, other: Mode) -> Mode:
    """The one that allows less."""
    return min(one, other, key=lambda mode: mode.rank)
