"""The simplest state of a stream: it follows, and needs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from twinloop.runtime.stream.ports import Record


class Follower:
    """It knows where it is; nothing of it is lost with its member."""

    def __init__(self, position: int = 0) -> None:
        self.halted: str | None = None
        self.position = position

    def take(self, records: Sequence[Record]) -> None:
        self.position = records[-1].offset + 1

    def replay_from(self) -> int:
        return self.position

    def covers(self) -> Sequence[str]:
        return ()

    def renewal(self) -> None: ...

    def relieve(self, former: Follower) -> None: ...

    def close(self) -> None: ...
