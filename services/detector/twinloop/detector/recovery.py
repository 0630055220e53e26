"""Where a partition's new owner resumes, so that open windows need no store of their own. Pure.

The metadata of each offset commit holds the offset of the oldest frame that an open window needs. A new owner
reads from there, fills its windows without a word up to the committed offset, and speaks from then on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Resume:
    """Read from `read_from`; publish what follows from records at and after `emit_from`."""

    read_from: int
    emit_from: int


def metadata(replay_from: int) -> str:
    """The metadata of a commit whose open windows need frames from `replay_from` on."""
    return json.dumps({"replay_from": replay_from})


def resume(committed: int | None, metadata: str, first: int, end: int) -> Resume:
    """From the committed offset (`None`: never committed) and its metadata.

    `first` and `end` are the offsets that the partition holds now. A committed offset beyond `end` belongs
    to a topic that was since made anew, one below `first` to records that retention has deleted: both begin
    at `first`.
    """
    if committed is None or not first <= committed <= end:
        return Resume(first, first)
    try:
        replay_from = int(json.loads(metadata)["replay_from"])
    except (ValueError, KeyError, TypeError):
        replay_from = committed  # committed by other means, such as a reset of the group's offsets
    return Resume(min(max(replay_from, first), committed), committed)
