"""Whose turn it is: the rounds of a partition, in the order in which they were read.

What a recurrent model answers to one round depends on what the round before it has left.
"""

from __future__ import annotations

import asyncio


class Turn:
    """A round's turn. It comes when the one before has ended."""

    def __init__(self, before: asyncio.Event) -> None:
        self._before = before
        self.ended = asyncio.Event()

    async def comes(self) -> None:
        """Wait for it. Returns at once when it has come before."""
        await self._before.wait()

    def end(self) -> None:
        """Let the next one come."""
        self.ended.set()


class Turns:
    """The turns of one partition's rounds."""

    def __init__(self) -> None:
        self._last = asyncio.Event()
        self._last.set()
        self._going_on: list[Turn] = []

    def take(self) -> Turn:
        """The next one: to be called in the order of the rounds."""
        turn = Turn(self._last)
        self._last = turn.ended
        self._going_on = [one for one in self._going_on if not one.ended.is_set()] + [turn]
        return turn

    def close(self) -> None:
        """Nothing comes of them any more: let nobody wait."""
        for one in self._going_on:
            one.end()

    def apart(self) -> Turns:
        """Turns of rounds that have nothing to do with these."""
        return Turns()
