"""What modelops tells over HTTP: the shapes of requests and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from twinloop.contracts.models import Measured, ModelContract, ModelRoute
from twinloop.modelops.diff import Figure
from twinloop.modelops.pairs import Comparison
from twinloop.modelops.plan import Terms
from twinloop.modelops.shelf import Held
from twinloop.modelops.trial import Finding, Outcome

_VERSION = r"^[A-Za-z0-9][A-Za-z0-9_.-]*:[1-9][0-9]{0,8}$"

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
Scope = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
VersionName = Annotated[str, StringConstraints(pattern=_VERSION)]


def version_of(name: str) -> tuple[str, int]:
    """`model:number`."""
    model, _, number = name.rpartition(":")
    return model, int(number)


# ---- what is asked


class Asked(BaseModel):
    """A reason is part of every act."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    reason: Reason


class ShadowAsked(Asked):
    """Try `version` beside the one that serves; the scope is its signal set unless another is named."""

    version: VersionName
    scope: Scope | None = None
    more_alarms: float | None = Field(
        default=None, gt=0, le=0.5, description="share of windows that may have more alarms; 0.01 by default"
    )
    auto: bool | None = Field(default=None, description="promote it once it has shown enough")

    def terms(self) -> Terms:
        """As the trial has them."""
        return Terms(self.more_alarms, self.auto)


class _Deciding(Asked):
    """A version is to decide."""

    cold: bool = Field(
        default=False, description="also at assets of which it has not seen enough for a verdict yet"
    )


class CanaryAsked(_Deciding):
    """Let `version`, or the one on trial, decide for a `share` of the assets, and for `assets`. What is
    not said of `more_alarms` and `auto` stays as it is."""

    version: VersionName | None = None
    scope: Scope | None = None
    share: float = Field(default=0.0, ge=0, le=1)
    assets: list[Scope] = Field(default=[], max_length=1000)
    more_alarms: float | None = Field(default=None, gt=0, le=0.5)
    auto: bool | None = None

    def terms(self) -> Terms:
        """As the trial has them."""
        return Terms(self.more_alarms, self.auto)


class PromoteAsked(_Deciding):
    """Let `version`, or the one on trial at `scope`, serve; without either, the only one on trial."""

    version: VersionName | None = None
    scope: Scope | None = None


class RollbackAsked(Asked):
    """End the trial at `scope`, or let the version before serve again."""

    scope: Scope


class RetireAsked(Asked):
    """Unload `version`, and keep its folder aside."""

    version: VersionName


# ---- what is answered


class View(BaseModel):
    """What every answer is made of."""

    model_config = ConfigDict(frozen=True)


class MeasuredView(View):
    """A figure of a card, with its 95 % interval."""

    what: str
    value: float
    low: float | None
    high: float | None


class TrialView(View):
    """A version on trial, and what it has shown so far."""

    version: str
    begun: datetime | None
    share: float
    assets: list[str]
    every: int
    more_alarms: float
    auto: bool
    finding: Finding | None = Field(description="goes_on, stop or may_pass; none before the first look")
    why: str | None
    windows: int = Field(description="on which both were compared")
    both: int = Field(description="alarms of both")
    only_serving: int
    only_trial: int


class RouteView(View):
    """Who is served by a version."""

    scope: str
    at: datetime
    serving: str
    trial: TrialView | None
    previous: str | None
    by: str
    reason: str


class VersionView(View):
    """A version in the repository. `state`: serving, trial, previous, staged, or unfinished."""

    version: str
    state: str
    scopes: list[str]
    served: bool = Field(description="Triton has it loaded")
    signal_set: str
    window: int
    hop: int
    threshold: float
    memory: int
    digest: str
    architecture: str | None
    measured: list[MeasuredView]
    staged_at: datetime | None
    staged_by: str | None
    run_p99_s: float | None
    served_p99_s: float | None
    full_windows: int | None = Field(description="of the largest request: as many as are sent at once")
    full_s: float | None = Field(description="how long that took; none: there was no answer in time")


class ModelsView(View):
    """All routes, and all versions."""

    routes: list[RouteView]
    versions: list[VersionView]


class StagedView(View):
    """A version that passed; `new` unless it was there already."""

    version: str
    new: bool
    digest: str


class RetiredView(View):
    """A version that nobody is served by any more."""

    version: str


class DifferenceView(View):
    """A field in which both differ."""

    name: str
    one: Any
    other: Any


class FigureView(View):
    """What was measured of both."""

    what: str
    one: MeasuredView | None
    other: MeasuredView | None


class SaidView(View):
    """How both judge the golden windows of a version."""

    of: str
    windows: int
    both: int
    only_one: int
    only_other: int
    score_apart: float = Field(description="largest difference of scores, in units of each one's threshold")


class DiffView(View):
    """Two versions, side by side."""

    one: str
    other: str
    contract: list[DifferenceView]
    card: list[DifferenceView]
    measured: list[FigureView]
    golden: list[SaidView]
    without: str | None = Field(description="why golden windows tell nothing of both, if they do not")


def route_view(route: ModelRoute, found: tuple[Comparison, Outcome] | None) -> RouteView:
    """`found`: what its trial has shown."""
    return RouteView(
        scope=route.scope,
        at=route.at,
        serving=name_of(route.contract),
        trial=_trial_view(route, found),
        previous=None if route.previous is None else name_of(route.previous),
        by=route.by,
        reason=route.reason,
    )


def _trial_view(route: ModelRoute, found: tuple[Comparison, Outcome] | None) -> TrialView | None:
    trial = route.trial
    if trial is None:
        return None
    tally = None if found is None else found[0].tally
    return TrialView(
        version=name_of(trial.contract),
        begun=trial.begun,
        share=trial.share,
        assets=list(trial.assets),
        every=trial.every,
        more_alarms=trial.more_alarms,
        auto=trial.auto,
        finding=None if found is None else found[1].finding,
        why=None if found is None else found[1].why,
        windows=0 if tally is None else tally.pairs,
        both=0 if tally is None else tally.both,
        only_serving=0 if tally is None else tally.only_serving,
        only_trial=0 if tally is None else tally.only_trial,
    )


def version_view(held: Held, state: str, scopes: list[str], *, served: bool) -> VersionView:
    """A version as it lies there, and who uses it."""
    contract, card, staged = held.contract, held.card, held.staged
    return VersionView(
        version=name_of(contract),
        state=state,
        scopes=scopes,
        served=served,
        signal_set=contract.signal_set,
        window=contract.window,
        hop=contract.hop,
        threshold=contract.threshold,
        memory=contract.memory,
        digest=contract.digest,
        architecture=None if card is None else card.architecture,
        measured=[] if card is None else [measured_view(one) for one in card.measured],
        staged_at=None if staged is None else staged.at,
        staged_by=None if staged is None else staged.by,
        run_p99_s=None if staged is None else staged.run_p99_s,
        served_p99_s=None if staged is None else staged.served_p99_s,
        full_windows=None if staged is None else staged.full_windows or None,
        full_s=None if staged is None else staged.full_s,
    )


def measured_view(one: Measured) -> MeasuredView:
    """A figure, to be told."""
    return MeasuredView.model_validate(msgspec.to_builtins(one))


def figure_view(one: Figure) -> FigureView:
    """A figure of both."""
    return FigureView(
        what=one.what,
        one=None if one.one is None else measured_view(one.one),
        other=None if one.other is None else measured_view(one.other),
    )


def name_of(contract: ModelContract) -> str:
    """As people write a version."""
    return f"{contract.model}:{contract.version}"
