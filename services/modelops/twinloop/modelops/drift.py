"""Which assets have moved away from what their model has learnt from: a reason to train anew. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from twinloop.contracts.events import Verdict
from twinloop.contracts.models import ModelCard, ModelRoute
from twinloop.modelops.stability import Shift, Stability

Cards = Callable[[str, int], ModelCard | None]
"""The card of a model's version, if it has one."""

SCORE = "score"
MOST_ASSETS = 2000
"""So many are followed at most, the ones that were heard of first: a fleet has no room here."""


@dataclass(frozen=True, slots=True)
class At:
    """An asset with its signal set, and the version that decides for it."""

    asset: str
    signal_set: str
    model: str
    version: int


def decides(at: At, routes: Mapping[str, ModelRoute]) -> bool:
    """Whether the version decides there by these routes. One for the asset goes before one for its set."""
    for scope in (at.asset, at.signal_set):
        route = routes.get(scope)
        if route is not None and route.contract.signal_set == at.signal_set:
            tried = route.trial is not None and route.trial.decides_for(at.asset)
            one = route.trial.contract if route.trial is not None and tried else route.contract
            return (one.model, one.version) == (at.model, at.version)
    return False


@dataclass(frozen=True, slots=True)
class Drifted:
    """That what a model sees at an asset has shifted; `worst` is the largest shift of `many`. `known`: it has
    learnt from that asset."""

    at: At
    worst: Shift
    many: int
    known: bool

    @property
    def text(self) -> str:
        """What a person is told."""
        others = f", and {self.many - 1} more" if self.many > 1 else ""
        worst = self.worst
        whose = "" if self.known else ", which was other assets"
        return (
            f"what {self.at.model}:{self.at.version} sees is not what it has learnt from{whose}: {worst.name}"
            f" has shifted{others} (PSI {worst.psi:.2f} over {worst.count} windows; above 0.25 is large). See"
            " whether the asset has changed; if that is how it is from now on, train a version on what is"
            " recorded since, and try it beside this one."
        )


class Drift:
    """All assets that their model's card has a reference for. What was seen in the last `epoch`, and the one
    before, counts. A score of 0 may be no verdict yet: an asset is followed from its first other one on."""

    def __init__(self, cards: Cards, epoch: timedelta) -> None:
        self._cards = cards
        self._epoch = epoch
        self._read: dict[tuple[str, int], ModelCard | None] = {}
        self._seen: dict[At, Stability] = {}
        self._told: set[At] = set()
        self.left_out = 0
        """Verdicts of assets that are not followed, because there are too many."""

    def take(self, verdict: Verdict, now: datetime) -> None:
        """A verdict that decided."""
        if not verdict.decides:
            return
        at = At(verdict.asset, verdict.signal_set, verdict.model, verdict.model_version)
        if at not in self._seen:
            card = self._card(at)
            reference = None if card is None else card.reference_of(at.asset)
            if reference is None or verdict.score == 0:
                return
            if len(self._seen) >= MOST_ASSETS:
                self.left_out += 1
                return
            self._seen[at] = Stability(reference, self._epoch)
        self._seen[at].add({**verdict.features, SCORE: verdict.score}, now)

    def forget(self, deciding: Callable[[At], bool]) -> None:
        """Let go of versions that do not decide there any more."""
        for at in [one for one in self._seen if not deciding(one)]:
            del self._seen[at]
            self._told.discard(at)
        self._read.clear()

    def _card(self, at: At) -> ModelCard | None:
        """That of its version."""
        version = at.model, at.version
        if version not in self._read:
            self._read[version] = self._cards(*version)
        return self._read[version]

    def _known(self, at: At) -> bool:
        """Whether its version has learnt from that asset, as far as its card names any."""
        card = self._card(at)
        return card is None or not card.trained.assets or at.asset in card.trained.assets

    def shifts(self) -> dict[At, list[Shift]]:
        """Of each asset, the largest first."""
        found = {at: list(one.shifts()) for at, one in self._seen.items()}
        return {at: sorted(some, key=lambda one: -one.psi) for at, some in found.items() if some}

    def drifted(self, shifts: Mapping[At, list[Shift]]) -> Iterator[Drifted]:
        """Which of `shifts` are to be told: large ones that were not told before, or had come back since."""
        for at, some in shifts.items():
            large = [one for one in some if one.large]
            if not large:
                self._told.discard(at)
            elif at not in self._told:
                self._told.add(at)
                yield Drifted(at, large[0], len(large), self._known(at))
