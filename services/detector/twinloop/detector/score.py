"""The model's part: one request to Triton for each route, over all partitions of a round.

Trouble with the server or a model is for the caller to wait out. Windows that a healthy model cannot take are
found by halving, and refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.models import ModelContract
from twinloop.detector.metrics import Metrics
from twinloop.detector.partition import Pending, Refused
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.tritonio.errors import InferenceFailed
from twinloop.tritonio.server import Floats, Inference


class Models(Protocol):
    """Who is asked: a server, or the circuit in front of it. See `InferenceServer`."""

    async def infer(self, contract: ModelContract, *windows: Floats) -> Inference:
        """See `InferenceServer`."""
        ...

    async def probe(self, contract: ModelContract) -> None:
        """See `InferenceServer`."""
        ...


Answers = list[tuple[Pending, Inference]]


@dataclass(frozen=True, slots=True)
class _Request:
    """Windows of one route, from whichever partitions they are."""

    parts: list[Pending]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def halves(self) -> list[_Request]:
        """Two requests that together are this one of at least two windows."""
        half = len(self.parts) // 2
        if half:
            return [_Request(self.parts[:half]), _Request(self.parts[half:])]
        index = np.arange(len(self))
        return [_Request([self.parts[0].select(some)]) for some in np.array_split(index, 2)]


class Scorer:
    """Asks `models` for answers."""

    def __init__(self, models: Models, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics

    async def score(self, parts: Iterable[Pending]) -> tuple[Answers, list[tuple[TopicPartition, Refused]]]:
        """Answers for all windows of `parts`, and the frames whose windows no answer can be had for.

        Raises `TritonError` when the server or a model cannot answer now, whatever it is asked.
        """
        answers: Answers = []
        refused: list[tuple[TopicPartition, Refused]] = []
        todo = _by_route(parts)
        while todo:
            request = todo.pop()
            try:
                answers += await self._infer(request)
            except InferenceFailed as failure:
                await self._models.probe(request.parts[0].route.contract)  # is it the model that fails?
                if len(request) > 1:
                    todo += request.halves()
                else:
                    refused.append((request.parts[0].partition, _refusal(request.parts[0], failure)))
        return answers, refused

    async def _infer(self, request: _Request) -> Answers:
        parts = request.parts
        self._metrics.batch_windows.observe(len(request))
        with self._metrics.infer_seconds.time():
            answer = await self._models.infer(parts[0].route.contract, *(one.values for one in parts))
        ends = np.cumsum([len(one) for one in parts]).tolist()
        return [(one, answer.part(end - len(one), end)) for one, end in zip(parts, ends, strict=True)]


def _by_route(parts: Iterable[Pending]) -> list[_Request]:
    routes: dict[int, list[Pending]] = {}
    for one in parts:
        routes.setdefault(id(one.route), []).append(one)
    return [_Request(same) for same in routes.values()]


def _refusal(pending: Pending, failure: InferenceFailed) -> Refused:
    detail = f"the window ending at row {pending.rows[0]}: {failure}"
    return Refused(pending.record(0), Reason.UNPROCESSABLE, detail)
