"""The identity of an edge node."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class NodeId:
    """An edge node: unique in the whole system as the pair of its group and its own id."""

    group: str
    node: str

    def __str__(self) -> str:
        return f"{self.group}/{self.node}"

    def asset(self, device: str) -> str:
        """The ISA-95 path of a device of this node, which Twinloop forms as `<group>.<node>.<device>`."""
        return f"{self.group}.{self.node}.{device}"
