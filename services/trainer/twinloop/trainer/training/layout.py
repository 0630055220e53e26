"""Where the parts of a recurrent model's memory lie in its vector. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, slots=True)
class Layout:
    """Parts by name with their shapes, one after the other: () is a single number."""

    parts: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers each part has."""
        return tuple(prod(shape) for _, shape in self.parts)

    @property
    def size(self) -> int:
        """How many numbers all of them have."""
        return sum(self.sizes)
