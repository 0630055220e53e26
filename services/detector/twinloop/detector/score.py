"""The model's part: one request to Triton for each route, over all partitions of a poll.

Trouble with the server or a model is waited out and tried again. Windows that a healthy model cannot take are
found by halving, and refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np

from twinloop.contracts.deadletters import Reason
from twinloop.detector.metrics import Metrics
from twinloop.detector.partition import Pending, Refused
from twinloop.detector.routes import Routes
from twinloop.tritonio.errors import InferenceFailed, TritonError
from twinloop.tritonio.server import Inference, InferenceServer

WaitOut = Callable[[TritonError], Awaitable[None]]


class Scorer:
    """Asks `server` for answers. `wait_out` is told of trouble and returns when to try again."""

    def __init__(self, server: InferenceServer, routes: Routes, wait_out: WaitOut, metrics: Metrics) -> None:
        self._server = server
        self._routes = routes
        self._wait_out = wait_out
        self._metrics = metrics

    async def score(self, parts: Iterable[Pending]) -> tuple[list[tuple[Pending, Inference]], list[Refused]]:
        """Answers for all windows of `parts`, and the frames whose windows no answer can be had for.

        Raises what `wait_out` raises.
        """
        answers: list[tuple[Pending, Inference]] = []
        refused: list[Refused] = []
        todo = list(_by_route(parts))
        while todo:
            pending = todo.pop()
            try:
                answers.append((pending, await self._infer(pending)))
            except InferenceFailed as failure:
                if (trouble := await self._probe(pending)) is not None:
                    await self._wait_out(trouble)
                    todo.append(replace(pending, route=self._routes.now(pending.route)))
                elif len(pending) > 1:
                    todo += [pending.select(half) for half in np.array_split(np.arange(len(pending)), 2)]
                else:
                    refused.append(_refusal(pending, failure))
            except TritonError as trouble:
                await self._wait_out(trouble)
                todo.append(replace(pending, route=self._routes.now(pending.route)))
        return answers, refused

    async def _infer(self, pending: Pending) -> Inference:
        self._metrics.batch_windows.observe(len(pending))
        with self._metrics.infer_seconds.time():
            return await self._server.infer(pending.route.contract, pending.values)

    async def _probe(self, pending: Pending) -> TritonError | None:
        """Whether it is the model that fails, whatever it is given."""
        try:
            await self._server.probe(pending.route.contract)
        except TritonError as trouble:
            return trouble
        return None


def _by_route(parts: Iterable[Pending]) -> Iterator[Pending]:
    """All windows of a route as one, from whichever partitions they are."""
    routes: dict[int, list[Pending]] = {}
    for one in parts:
        routes.setdefault(id(one.route), []).append(one)
    for same in routes.values():
        if len(same) == 1:
            yield same[0]
        else:
            yield Pending(
                same[0].route,
                np.concatenate([one.values for one in same]),
                [frame for one in same for frame in one.frames],
                [record for one in same for record in one.records],
                np.concatenate([one.rows for one in same]),
            )


def _refusal(pending: Pending, failure: InferenceFailed) -> Refused:
    detail = f"the window ending at row {pending.rows[0]}: {failure}"
    return Refused(pending.records[0], Reason.UNPROCESSABLE, detail)
