"""Which vehicles have joints of a station from a while: pseudonyms only.

The edge that holds the key of the hash has the VINs of the vehicles that it let in; it hashes each and keeps
those whose pseudonym is on the list. Nobody else can, and nothing here needs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from twinloop.controller.field.genealogy import Genealogy


@dataclass(frozen=True, slots=True)
class Recall:
    """A vehicle that is affected, and by which of its cell groups' joints."""

    vehicle: str
    part_ids: tuple[str, ...]
    cell_groups: tuple[int, ...]


def affected(genealogy: Genealogy, station: str, start: datetime, end: datetime) -> list[Recall]:
    """Vehicles with a joint that `station` welded in [`start`, `end`), by pseudonym."""
    found: dict[str, list[tuple[int, str]]] = {}
    for vehicle, joint in genealogy.made_in(station, start, end):
        found.setdefault(vehicle, []).append((joint.cell_group, joint.part_id))
    return [
        Recall(
            vehicle,
            part_ids=tuple(part for _, part in sorted(joints)),
            cell_groups=tuple(group for group, _ in sorted(joints)),
        )
        for vehicle, joints in sorted(found.items())
    ]
