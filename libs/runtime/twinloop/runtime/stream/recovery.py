"""Where a partition's new owner resumes, so that its state needs no store of its own. Pure.

The metadata of each offset commit holds the offset of the oldest record that the state still needs, and
names what it was folded into. A new owner reads from there, or from further back for what is not among that;
it folds without a word up to the committed offset, and speaks from then on."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection
from dataclasses import dataclass

from twinloop.runtime.stream.errors import PositionAhead


@dataclass(frozen=True, slots=True)
class Position:
    """A committed position: every record below `offset` is done. `metadata` is kept with it."""

    offset: int
    metadata: str = ""

    @classmethod
    def needing(cls, offset: int, replay_from: int, covers: Collection[str] = ()) -> Position:
        """The position of a state that needs records from `replay_from` on, for what `covers` names."""
        kept = {"replay_from": min(replay_from, offset), "covers": sorted(covers)}
        return cls(offset, json.dumps(kept))


@dataclass(frozen=True, slots=True)
class Resume:
    """Read from `read_from`; publish what follows from records at and after `emit_from`.

    For anything but what `covers` names, read from further back, at most from `first`.
    """

    read_from: int
    emit_from: int
    first: int = 0
    covers: frozenset[str] = frozenset()


def resume(committed: Position | None, first: int, end: int) -> Resume:
    """From the committed position (`None`: never committed).

    `first` and `end` are the offsets that the partition holds now. Below `first`, retention has deleted what
    was not read: reading begins there. Raises `PositionAhead` when the position is beyond `end`; that of a
    topic that was deleted is deleted with it.
    """
    if committed is not None and committed.offset > end:
        raise PositionAhead(f"the group's position {committed.offset} is beyond the end, {end}")
    if committed is None or committed.offset < first:
        return Resume(first, first, first)
    replay_from, covers = committed.offset, frozenset[str]()
    with contextlib.suppress(ValueError, KeyError, TypeError):  # a group whose offsets were reset, say
        kept = json.loads(committed.metadata)
        replay_from = int(kept["replay_from"])
        covers = frozenset(map(str, kept["covers"]))
    return Resume(min(max(replay_from, first), committed.offset), committed.offset, first, covers)
