"""Which verdicts of a trial belong together. Pure.

A pair is the verdict of the version that serves and that of the one on trial on the same window. Where
windows do not end alike, the n-th of one is set beside the n-th of the other at the same asset: then shares
of alarms can be compared, and agreement cannot.

What the version on trial says of an asset while it is quiet there (`ModelContract.quiet`) is paired, and
counts for nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from twinloop.contracts.events import Verdict
from twinloop.contracts.models import ModelContract, ModelRoute
from twinloop.modelops.blocks import Blocks

WAITING: Final = 20_000
"""Verdicts of a trial whose other half has not come yet; the oldest are given up."""
OVERTAKEN: Final = 100
"""By so many later verdicts of the version that serves: what the other one has not said of a window of the
same asset, it will not."""
BEGUN: Final = 1000
"""The same before it has said anything there: it may have to be made ready first."""
BLOCK: Final = 10
"""Windows of a block, at least, if nobody says otherwise."""


@dataclass(slots=True)
class Tally:
    """Pairs, by which of both raised an alarm; and verdicts whose other half never came: `unanswered` are
    those of windows that the version on trial had no answer to."""

    both: int = 0
    only_serving: int = 0
    only_trial: int = 0
    neither: int = 0
    quiet: int = 0
    alone: int = 0
    unanswered: int = 0

    @property
    def pairs(self) -> int:
        """All that count."""
        return self.both + self.only_serving + self.only_trial + self.neither

    def add(self, *, serving: bool, trial: bool) -> None:
        """One more pair."""
        if serving and trial:
            self.both += 1
        elif serving:
            self.only_serving += 1
        elif trial:
            self.only_trial += 1
        else:
            self.neither += 1


class _Half(NamedTuple):
    """One half of a pair. `nth`: how much its version had said of the asset before."""

    of_trial: bool
    anomalous: bool
    nth: int


_Place = tuple[str, int, int]


@dataclass(slots=True)
class _Asset:
    served: int = 0
    """Verdicts of the version that serves."""
    tried: int = 0
    """Verdicts of the one on trial."""
    queue: deque[_Half] = field(default_factory=deque)
    """Halves of either version, where windows do not end alike."""
    asked: deque[tuple[int, bool, _Place]] = field(default_factory=deque)
    """Windows that the version that serves has judged, where they do: its how many-th, and whether the one on
    trial had said anything yet."""

    def half(self, of_trial: bool, anomalous: bool) -> _Half:
        """The next verdict."""
        made = _Half(of_trial, anomalous, self.tried if of_trial else self.served)
        self.tried += of_trial
        self.served += not of_trial
        return made


class Comparison:
    """The verdicts of one trial. A block of windows has `block` of them, or more: see `block_of`."""

    def __init__(self, route: ModelRoute, block: int = BLOCK) -> None:
        self.route = route
        self.tally = Tally()
        self.more = Blocks(block_of(route, block))
        """How many more alarms the version on trial has."""
        self.apart = Blocks(block_of(route, block))
        """On how many windows both differ."""
        self._assets: dict[str, _Asset] = {}
        self._waiting: OrderedDict[_Place, _Half] = OrderedDict()
        self._queued = 0

    @property
    def trial(self) -> ModelContract:
        """The version on trial."""
        assert self.route.trial is not None
        return self.route.trial.contract

    @property
    def alike(self) -> bool:
        """Whether windows of both end at the same samples."""
        return ends_alike(self.route.contract, self.trial)

    @property
    def warm(self) -> int:
        """Assets at which the version on trial is not quiet any more."""
        return sum(one.tried > self.trial.quiet for one in self._assets.values())

    @property
    def cold(self) -> int:
        """Assets with a version that serves, at which it still is."""
        return sum(one.tried <= self.trial.quiet for one in self._assets.values() if one.served)

    def take(self, verdict: Verdict) -> None:
        """A verdict on a window of the scope; of another version, or from before the trial, it is none of
        ours."""
        spoke = verdict.model, verdict.model_version
        of_trial = spoke == (self.trial.model, self.trial.version)
        if not of_trial and spoke != (self.route.contract.model, self.route.contract.version):
            return
        begun = self.route.trial.begun if self.route.trial is not None else None
        if begun is not None and verdict.at < begun:
            return
        asset = self._assets.setdefault(verdict.asset, _Asset())
        half = asset.half(of_trial, verdict.anomalous)
        if self.alike:
            self._pair((verdict.asset, verdict.sequence, verdict.row), asset, half)
        else:
            self._queue(verdict.asset, asset, half)

    def _pair(self, place: _Place, asset: _Asset, half: _Half) -> None:
        other = self._waiting.get(place)
        if other is not None and other.of_trial != half.of_trial:
            del self._waiting[place]
            self._add(place[0], half, other)
        else:
            self._waiting[place] = half
            if not half.of_trial:
                asset.asked.append((half.nth, asset.tried > 0, place))
        self._give_up(asset)
        if len(self._waiting) > WAITING:
            self._waiting.popitem(last=False)
            self.tally.alone += 1

    def _give_up(self, asset: _Asset) -> None:
        """What the version on trial has passed over, and could have judged: a window no longer than the other
        is complete by then."""
        patience = OVERTAKEN if asset.tried else BEGUN
        while asset.asked and asset.served > asset.asked[0][0] + patience:
            _, spoke, place = asset.asked.popleft()
            if self._waiting.pop(place, None) is not None:
                self.tally.alone += 1
                if spoke or not asset.tried:
                    self.tally.unanswered += self.trial.window <= self.route.contract.window

    def _queue(self, name: str, asset: _Asset, half: _Half) -> None:
        queue = asset.queue
        if queue and queue[0].of_trial != half.of_trial:
            self._queued -= 1
            self._add(name, half, queue.popleft())
            return
        queue.append(half)
        self._queued += 1
        if self._queued > WAITING:
            max((one.queue for one in self._assets.values()), key=len).popleft()
            self._queued -= 1
            self.tally.alone += 1

    def _add(self, asset: str, one: _Half, other: _Half) -> None:
        trial, serving = (one, other) if one.of_trial else (other, one)
        if trial.nth < self.trial.quiet:
            self.tally.quiet += 1
        else:
            self.add(asset, serving=serving.anomalous, trial=trial.anomalous)

    def add(self, asset: str, *, serving: bool, trial: bool) -> None:
        """A pair, by who of both raised an alarm."""
        self.tally.add(serving=serving, trial=trial)
        self.more.add(asset, serving=serving, trial=trial)
        self.apart.add(asset, serving=False, trial=serving != trial)


def ends_alike(one: ModelContract, other: ModelContract) -> bool:
    """Whether windows of both end at the same samples of a run, once both have enough of them."""
    return one.hop == other.hop and (one.window - other.window) % one.hop == 0


def block_of(route: ModelRoute, least: int) -> int:
    """The length of a block, at least: as many windows as have a sample in common, and as many as a version
    with a memory needs before it has a verdict, since about so much of the past is in each one."""
    versions = [route.contract] + ([] if route.trial is None else [route.trial.contract])
    return max(least, *(max(-(-one.window // one.hop), one.quiet) for one in versions))
