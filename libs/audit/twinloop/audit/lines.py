"""Reading the file of a chain at a place, without reading all of it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Final

from twinloop.audit.chain import Head, entry_of

TAIL_BYTES: Final = 64 * 1024
"""So much is read at first, where a line of unknown length must be found from its end."""


def ends_at(path: Path, offset: int, head: Head) -> bool:
    """Whether the entry `head` ends at `offset`."""
    if offset <= 0:
        return head == Head()
    with path.open("rb") as file:
        length = TAIL_BYTES
        while True:
            start = max(0, offset - length)
            file.seek(start)
            data = file.read(offset - start)
            line = data[:-1].rpartition(b"\n")[2]
            if start == 0 or len(line) < len(data) - 1:
                break
            length *= 4
    return data.endswith(b"\n") and _head_of(line) == head


def is_in(path: Path, head: Head) -> bool:
    """Whether the file has the entry `head`, in the line of that number."""
    with path.open("rb") as file:
        line = next(islice(file, head.number - 1, None), b"")
    return _head_of(line.removesuffix(b"\n")) == head


def _head_of(line: bytes) -> Head | None:
    try:
        entry = entry_of(line)
    except ValueError:
        return None
    return Head(entry.number, entry.digest)


def lines_between(path: Path, offset: int, end: int, at_most: int) -> bytes:
    """Whole lines of `path[offset:end]`, about `at_most` bytes, at least one line if there is one."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(min(at_most, end - offset))
        if len(data) < end - offset and not data.endswith(b"\n"):
            data += file.readline(end - offset - len(data))
    return data
