"""Which assets have moved away from what their model has learnt from: a reason to train anew. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from twinloop.contracts.events import Verdict
from twinloop.contracts.models import ModelCard
from twinloop.modelops.stability import Shift, Stability

Cards = Callable[[str, int], ModelCard | None]
"""The card of a model's version, if it has one."""

SCORE = "score"
MOST_ASSETS = 2000
"""So many are followed at most, the ones that were heard of first: a fleet has no room here."""


@dataclass(frozen=True, slots=True)
class At:
    """An asset, and the version that decides for it."""

    asset: str
    model: str
    version: int


@dataclass(frozen=True, slots=True)
class Drifted:
    """That what a model sees at an asset has shifted; `worst` is the largest shift of `many`."""

    at: At
    worst: Shift
    many: int

    @property
    def text(self) -> str:
        """What a person is told."""
        others = f", and {self.many - 1} more" if self.many > 1 else ""
        worst = self.worst
        return (
            f"what {self.at.model}:{self.at.version} sees is not what it has learnt from: {worst.name} has"
            f" shifted{others} (PSI {worst.psi:.2f} over {worst.count} windows; above 0.25 is large). See"
            " whether the asset has changed; if that is how it is from now on, train a version on what is"
            " recorded since, and try it beside this one."
        )


class Drift:
    """All assets of models whose card has a reference. What was seen in the last `epoch`, and the one before,
    counts."""

    def __init__(self, cards: Cards, epoch: timedelta) -> None:
        self._cards = cards
        self._epoch = epoch
        self._references: dict[tuple[str, int], Mapping[str, Sequence[float]]] = {}
        self._seen: dict[At, Stability] = {}
        self._told: set[At] = set()
        self.left_out = 0
        """Verdicts of assets that are not followed, because there are too many."""

    def take(self, verdict: Verdict, now: datetime) -> None:
        """A verdict that decided."""
        if not verdict.decides:
            return
        at = At(verdict.asset, verdict.model, verdict.model_version)
        if at not in self._seen:
            reference = self._reference(at)
            if not reference:
                return
            if len(self._seen) >= MOST_ASSETS:
                self.left_out += 1
                return
            self._seen[at] = Stability(reference, self._epoch)
        self._seen[at].add({**verdict.features, SCORE: verdict.score}, now)

    def forget(self, serving: Callable[[At], bool]) -> None:
        """Let go of versions that do not decide there any more."""
        for at in [one for one in self._seen if not serving(one)]:
            del self._seen[at]
            self._told.discard(at)
        self._references.clear()

    def _reference(self, at: At) -> Mapping[str, Sequence[float]]:
        """That of its version; empty where there is none."""
        version = at.model, at.version
        if version not in self._references:
            card = self._cards(*version)
            self._references[version] = {} if card is None else card.reference
        return self._references[version]

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
                yield Drifted(at, large[0], len(large))
