"""What recurrent models remember of a partition's assets. Pure.

It moves on in one step, once all of a round is answered: a round that is tried again begins where it began
the first time. The order of the rounds is `turns`' business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from twinloop.contracts.codec import Undecodable, decode
from twinloop.contracts.frame_batch import named, source_of
from twinloop.contracts.ids import event_id
from twinloop.contracts.models import ModelContract, ModelMemory
from twinloop.contracts.times import Instant
from twinloop.contracts.topics import MODEL_MEMORY
from twinloop.runtime.observability import logging
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
