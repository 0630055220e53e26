"""What recurrent models remember of a partition's assets, and whose turn it is to add to it.

A round's answers depend on what the round before it has left, so the rounds of a partition take turns, in
the order in which they were read. What is remembered moves on in one step, once all of a round is answered: a
round that is tried again begins where it began the first time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from twinloop.contracts.codec import Undecodable, decode
from twinloop.contracts.frame_batch import named, source_of
from twinloop.contracts.ids import event_id
from twinloop.contracts.models import ModelContract, ModelMemory
from twinloop.contracts.times import Instant
from twinloop.contracts.topics import MODEL_MEMORY
from twinloop.runtime import logging
from twinloop.tritonio.server import Floats

log = logging.logger(__name__)


_LITTLE_ENDIAN: Final = np.dtype("<f4")


class Remembered:
    """Of each asset of a partition of `topic`, what each recurrent version remembers. A source is an asset
    with its signal set (`frame_batch.source_of`).

    `kept`: the records of `model-memory` that hold what a former owner left.
    """

    def __init__(self, topic: str, kept: Mapping[bytes, bytes]) -> None:
        self._topic = topic
        self._now = dict(_read(topic, kept))

    def recall(self, contract: ModelContract, sources: Sequence[bytes]) -> Floats:
        """float32 [N, M], for the next window of each of N sources; zeros for one that has none before."""
        found = np.zeros((len(sources), contract.memory), np.float32)
        for n, source in enumerate(sources):
            known = self._now.get((contract.model, contract.version, source))
            if known is not None and len(known) == contract.memory:
                found[n] = known
        return found

    def learn(
        self, contract: ModelContract, sources: Sequence[bytes], memory: Floats, at: Instant
    ) -> Iterator[ModelMemory]:
        """`memory` float32 [N, M] takes the place of what was remembered of `sources`. Yields what keeps
        it."""
        for source, values in zip(sources, memory, strict=True):
            self._now[contract.model, contract.version, source] = values
            name, signal_set = named(source)
            what = (self._topic, name, signal_set, contract.model, contract.version, at.isoformat())
            yield ModelMemory(
                event_id=event_id("model_memory", *what),
                topic=self._topic,
                asset=name,
                signal_set=signal_set,
                model=contract.model,
                model_version=contract.version,
                at=at,
                values=values.astype(_LITTLE_ENDIAN).tobytes(),
            )


def _read(topic: str, kept: Mapping[bytes, bytes]) -> Iterator[tuple[tuple[str, int, bytes], Floats]]:
    for key, value in kept.items():
        try:
            one: ModelMemory = decode(MODEL_MEMORY, value)
            values = np.frombuffer(one.values, _LITTLE_ENDIAN).astype(np.float32)
        except (Undecodable, ValueError) as error:
            log.error("a memory cannot be read: it begins anew", key=repr(key), problem=str(error))
            continue
        if one.topic == topic:
            yield (one.model, one.model_version, source_of(one.asset, one.signal_set)), values


class Turn:
    """A round's turn. It comes when the one before is over."""

    def __init__(self, before: asyncio.Event) -> None:
        self._before = before
        self.over = asyncio.Event()

    async def comes(self) -> None:
        """Wait for it. Returns at once when it has come before."""
        await self._before.wait()


class Turns:
    """The turns of one partition's rounds."""

    def __init__(self) -> None:
        self._last = asyncio.Event()
        self._last.set()
        self._going_on: list[Turn] = []

    def take(self) -> Turn:
        """The next one: to be called in the order of the rounds."""
        turn = Turn(self._last)
        self._last = turn.over
        self._going_on = [one for one in self._going_on if not one.over.is_set()] + [turn]
        return turn

    def close(self) -> None:
        """Nothing comes of them any more: let nobody wait."""
        for one in self._going_on:
            one.over.set()
