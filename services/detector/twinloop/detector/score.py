"""The model's part: one request to Triton for each version, over all partitions of a round.

A recurrent model is asked step by step: in each for at most one window of an asset, with what it remembers of
the one before. Trouble with the server or a model is for the caller to wait out. Windows that a healthy model
cannot take are found by halving, and refused; what is remembered of their asset stays as it was. What is too
much for it within the deadline is asked for in portions.

All of that is for windows that their version decides of. For answers to others nobody waits long, and none of
them is refused: see `beside`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.models import ModelContract
from twinloop.detector.beside import Patience
from twinloop.detector.beside import Reason as Dropped
from twinloop.detector.metrics import Metrics
from twinloop.detector.portions import Portions
from twinloop.detector.routes import Role
from twinloop.detector.taken import Ints, Pending, Refused
from twinloop.runtime.stream.ports import TopicPartition
from twinloop.tritonio.errors import DeadlineExceeded, InferenceFailed
from twinloop.tritonio.server import Floats, Inference, join


class Models(Protocol):
    """Who is asked: a server, or the circuit in front of it. See `InferenceServer`."""

    async def infer(
        self, contract: ModelContract, *windows: Floats, memory: Floats | None = None
    ) -> Inference:
        """See `InferenceServer`."""
        ...

    async def probe(self, contract: ModelContract) -> None:
        """See `InferenceServer`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What a recurrent model remembers after a round: `memory` float32 [N, M], of N `sources`, of which
    `pending` is."""

    pending: Pending
    sources: Sequence[bytes]
    memory: Floats


@dataclass(slots=True)
class Scored:
    """Answers for windows, and the frames whose windows no answer can be had for."""

    answers: list[tuple[Pending, Inference]] = field(default_factory=list)
    refused: list[tuple[TopicPartition, Refused]] = field(default_factory=list)
    learnt: list[Learnt] = field(default_factory=list)

    def add(self, other: Scored) -> None:
        """More of it."""
        self.answers += other.answers
        self.refused += other.refused
        self.learnt += other.learnt


class Scorer:
    """Asks `models` for answers, each within `deadline_s`; `patience` is for versions that decide nothing."""

    def __init__(
        self, models: Models, metrics: Metrics, *, deadline_s: float = 5.0, patience: Patience | None = None
    ) -> None:
        self._models = models
        self._metrics = metrics
        self._portions = Portions(deadline_s)
        self._patience = patience or Patience(metrics)

    async def score(self, parts: Iterable[Pending]) -> Scored:
        """Answers for all windows of `parts`; of one that its version does not decide of, if there is one.

        Raises `TritonError` when the server or a model that decides cannot answer now, whatever it is asked.
        """
        scored = Scored()
        for request in _by_version(parts):
            scored.add(await (self._answers(request) if request.decides else self._beside(request)))
        return scored

    async def _beside(self, request: _Request) -> Scored:
        """The answers of a version that decides nothing."""
        contract = request.contract
        found = await self._patience.wait_for(contract, len(request), partial(self._answers, request))
        if found is None:
            return Scored()
        if found.refused:
            self._patience.dropped(contract, len(found.refused), Dropped.FAILED)
        return Scored(found.answers, learnt=found.learnt)

    async def _answers(self, request: _Request) -> Scored:
        scored = Scored()
        if request.contract.memory:
            answers = await self._ask_step_by_step(request, scored)
        else:
            answers = await self._ask(request, np.arange(len(request)), None, scored)
        scored.answers += request.apart(answers)
        return scored

    async def _ask_step_by_step(self, request: _Request, scored: Scored) -> list[_Answer]:
        """The answers of a recurrent model."""
        owners = _Owners(request)
        memory = owners.recall()
        answers: list[_Answer] = []
        for step in range(int(owners.step.max()) + 1):
            index = np.flatnonzero(owners.step == step)
            for some, answer in await self._ask(request, index, memory[owners.of[index]], scored):
                memory[owners.of[some]] = answer.memory
                answers.append((some, answer))
        scored.learnt += owners.learnt(memory)
        return answers

    async def _ask(
        self, request: _Request, index: Ints, memory: Floats | None, scored: Scored
    ) -> list[_Answer]:
        """Answers for some windows of a request, by their index, ascending. The others are refused."""
        answers: list[_Answer] = []
        todo = [np.arange(len(index))]
        while todo:
            places = todo.pop()
            if len(places) > (most := self._portions.most(request.contract)):
                places, rest = np.split(places, [most])
                todo.append(rest)
            some = index[places]
            try:
                answer = await self._infer(request, some, None if memory is None else memory[places])
            except DeadlineExceeded:
                self._portions.missed(request.contract, len(some))
                await self._models.probe(request.contract)  # does it hang?
                if len(some) == 1:
                    raise
                todo.append(places)
            except InferenceFailed as failure:
                await self._models.probe(request.contract)  # is it the model that fails?
                if len(some) > 1:
                    todo += np.array_split(places, 2)
                else:
                    scored.refused.append(request.refusal(some, failure))
            else:
                answers.append((some, answer))
        return answers

    async def _infer(self, request: _Request, index: Ints, memory: Floats | None) -> Inference:
        self._metrics.batch_windows.observe(len(index))
        begun = time.perf_counter()
        with self._metrics.infer_seconds.time():
            answer = await self._models.infer(request.contract, *request.values(index), memory=memory)
        self._portions.answered(request.contract, len(index), time.perf_counter() - begun)
        return answer


_Answer = tuple[Ints, Inference]
"""For the windows of a request that have these indices."""


class _Request:
    """Windows of one model, at least one, from whichever partitions they are; numbered through. `decides`:
    whether it decides of them."""

    def __init__(self, parts: Sequence[Pending]) -> None:
        self.parts = parts
        self.contract = parts[0].judge.contract
        self.decides = parts[0].judge.role is Role.DECIDES
        self._ends = np.cumsum([len(one) for one in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def values(self, index: Ints) -> list[Floats]:
        """The windows with these indices, ascending; nothing is copied where they are all."""
        if len(index) == len(self):
            return [one.values for one in self.parts]
        return [one.values[mine] for one, mine, _ in self._mine(index)]

    def refusal(self, index: Ints, failure: InferenceFailed) -> tuple[TopicPartition, Refused]:
        """Refuse the frame of a window."""
        ((one, mine, _),) = self._mine(index)
        detail = f"the window ending at row {one.rows[mine[0]]}: {failure}"
        refused = Refused(one.record(int(mine[0])), Reason.UNPROCESSABLE, detail)
        return one.partition, refused

    def apart(self, answers: Sequence[_Answer]) -> Iterator[tuple[Pending, Inference]]:
        """The answers by part, those of a part in the order of its windows."""
        if len(answers) == 1 and len(answers[0][0]) == len(self):
            for one, end in zip(self.parts, self._ends.tolist(), strict=True):
                yield one, answers[0][1].part(end - len(one), end)
            return
        index = np.concatenate([np.empty(0, np.int64), *(some for some, _ in answers)])
        order = np.argsort(index)
        whole = join(self.contract, [answer for _, answer in answers]).select(order)
        for one, mine, places in self._mine(index[order]):
            yield one.select(mine), whole.select(places)

    def _mine(self, index: Ints) -> Iterator[tuple[Pending, Ints, Ints]]:
        """Of each part that windows in `index`, ascending, are from: the part, which of its own they are, and
        their places in `index`."""
        places = np.searchsorted(index, self._ends)
        start = 0
        for one, place, end in zip(self.parts, places.tolist(), self._ends.tolist(), strict=True):
            if place > start:
                yield one, index[start:place] - (end - len(one)), np.arange(start, place)
            start = place


class _Owners:
    """Whose the windows of a request are: an owner is an asset of a part. By window: `of`, the number of its
    owner, and `step`, how many windows of the same owner come before it."""

    def __init__(self, request: _Request) -> None:
        self._contract = request.contract
        self._sources: list[tuple[Pending, list[bytes]]] = []
        of, known = [], 0
        for part in request.parts:
            assets, which = np.unique(part.assets, return_inverse=True)
            self._sources.append((part, [part.sources[one] for one in assets.tolist()]))
            of.append(which + known)
            known += len(assets)
        self.of: Ints = np.concatenate(of)
        order = np.argsort(self.of, kind="stable")
        counts = np.bincount(self.of, minlength=known)
        self.step: Ints = np.empty(len(order), np.int64)
        self.step[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)

    def recall(self) -> Floats:
        """float32 [owners, M]: what is remembered of each owner."""
        return np.concatenate(
            [part.remembered.recall(self._contract, sources) for part, sources in self._sources]
        )

    def learnt(self, memory: Floats) -> Iterator[Learnt]:
        """`memory` [owners, M], by part."""
        start = 0
        for part, sources in self._sources:
            yield Learnt(part, sources, memory[start : start + len(sources)])
            start += len(sources)


def _by_version(parts: Iterable[Pending]) -> list[_Request]:
    """Those that decide come first."""
    versions: dict[tuple[bool, str, int], list[Pending]] = {}
    for one in parts:
        if len(one):
            contract = one.judge.contract
            beside = one.judge.role is not Role.DECIDES
            versions.setdefault((beside, contract.model, contract.version), []).append(one)
    return [_Request(versions[key]) for key in sorted(versions)]
