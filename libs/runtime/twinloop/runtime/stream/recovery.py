"""Where a partition's new owner resumes, so that its state needs no store of its own. Pure.

The metadata of each offset commit holds the offset of the oldest record that the state still needs. A new
owner reads from there, folds without a word up to the committed offset, and speaks from then on."""

from __future__ import annotations

import json
from dataclasses import dataclass

from twinloop.runtime.stream.errors import PositionAhead


@dataclass(frozen=True, slots=True)
class Position:
    """A committed position: every record below `offset` is done. `metadata` is kept with it."""

    offset: int
    metadata: str = ""

    @classmethod
    def needing(cls, offset: int, replay_from: int) -> Position:
        """The position of a state that needs records from `replay_from` on."""
        return cls(offset, json.dumps({"replay_from": min(replay_from, offset)}))


@dataclass(frozen=True, slots=True)
class Resume:
    """Read from `read_from`; publish what follows from records at and after `emit_from`."""

    read_from: int
    emit_from: int


def resume(committed: Position | None, first: int, end: int) -> Resume:
    """From the committed position (`None`: never committed).

    `first` and `end` are the offsets that the partition holds now. Below `first`, retention has deleted what
    was not read: reading begins there. Raises `PositionAhead` when the position is beyond `end`; that of a
    topic that was deleted is deleted with it.
    """
    if committed is not None and committed.offset > end:
        raise PositionAhead(f"the group's position {committed.offset} is beyond the end, {end}")
    if committed is None or committed.offset < first:
        return Resume(first, first)
    try:
        replay_from = int(json.loads(committed.metadata)["replay_from"])
    except (ValueError, KeyError, TypeError):
        replay_from = committed.offset  # committed by other means, such as a reset of the group's offsets
    return Resume(min(max(replay_from, first), committed.offset), committed.offset)
