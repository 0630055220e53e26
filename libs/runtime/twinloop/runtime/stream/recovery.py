"""Where a partition's new owner resumes, so that its state needs no store of its own. Pure.

The metadata of each offset commit holds the offset of the oldest record that the state still needs. A new
owner reads from there, folds without a word up to the committed offset, and speaks from then on."""

from __future__ import annotations

import json
from dataclasses import dataclass


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

    `first` and `end` are the offsets that the partition holds now. A committed offset beyond `end` belongs
    to a topic that was since made anew, one below `first` to records that retention has deleted: both begin
    at `first`.
    """
    if committed is None or not first <= committed.offset <= end:
        return Resume(first, first)
    try:
        replay_from = int(json.loads(committed.metadata)["replay_from"])
    except (ValueError, KeyError, TypeError):
        replay_from = committed.offset  # committed by other means, such as a reset of the group's offsets
    return Resume(min(max(replay_from, first), committed.offset), committed.offset)
