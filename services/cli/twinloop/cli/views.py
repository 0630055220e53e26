"""What the services' APIs answer, as far as a person is shown it. What they say besides is left aside."""

from __future__ import annotations

from datetime import datetime

import msgspec

from twinloop.contracts.changes import Action, Forecast


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A state that a change went through."""

    state: str
    at: datetime


class Endorsement(msgspec.Struct, frozen=True, kw_only=True):
    """Who agreed with a change that needs two."""

    by: str
    reason: str
    at: datetime | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Of `GET /changes`."""

    change_id: str
    asset: str
    action: Action
    state: str
    mode: str = ""
    diagnosis: str = ""
    reason: str = ""
    rollback_of: str | None = None
    expires_at: datetime | None = None
    states: list[Step] = []
    do_nothing: Forecast | None = None
    do_this: Forecast | None = None
    waits_for: str | None = None
    endorsed: list[Endorsement] = []
    decided_by: str | None = None
    decision: str | None = None


class Governed(msgspec.Struct, frozen=True, kw_only=True):
    """What governs an asset."""

    requested: str
    actual: str
    killed: bool
    manual: bool
    pending: bool = False
    why: str = ""


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """As far as it is shown."""

    mode: Governed


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """Of `GET /assets`. Only the twin that decides about an asset tells its shadow."""

    asset: str
    shadow: Shadow | None = None


class ModeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A mode was requested; `actual` was in force then."""

    requested: str
    actual: str


class Station(msgspec.Struct, frozen=True, kw_only=True):
    """Of `GET /stations`. `device` is `None` while the PLC does not answer."""

    asset: str
    station: str = ""
    mode: str
    manual: bool = False
    control_source: str | None = None
    kill_switch: str | None = None
    device: dict[str, object] | None = None


class Stations(msgspec.Struct, frozen=True, kw_only=True):
    """All of a line, and the switch for all of them."""

    stations: list[Station]
    kill_switch: str | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Of `GET /findings`."""

    station: str
    found_at: datetime
    window_from: datetime
    window_to: datetime
    vehicles: int
    built: int
    q: float
    more: float
    more_low: int
    more_high: int
    limit_uohm: float | None = None
    change_id: str | None = None
    text: str = ""


class Affected(msgspec.Struct, frozen=True, kw_only=True):
    """A vehicle, by its pseudonym, and its joints that are meant."""

    vehicle: str
    part_ids: list[str] = []
    cell_groups: list[int] = []


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """Of `GET /recall`."""

    station: str
    start: datetime
    end: datetime
    vehicles: list[Affected]


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """Of `POST /kill`: `released` says whose device has confirmed that it has control."""

    assets: list[str]
    saved: bool = True
    released: dict[str, bool] = {}


class Cleared(msgspec.Struct, frozen=True, kw_only=True):
    """Of `POST /kill/clear`."""

    assets: list[str]


class OnTrial(msgspec.Struct, frozen=True, kw_only=True):
    """A version on trial, and what it has shown so far."""

    version: str
    share: float = 0.0
    assets: list[str] = []
    auto: bool = False
    finding: str | None = None
    why: str | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Who is served by a version. What `POST /models/...` answers."""

    scope: str
    serving: str
    trial: OnTrial | None = None
    previous: str | None = None
    by: str = ""
    reason: str = ""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of a version, with its 95 % interval."""

    what: str
    value: float
    low: float | None = None
    high: float | None = None


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A version in the repository."""

    version: str
    state: str
    scopes: list[str] = []
    served: bool = False
    architecture: str | None = None
    measured: list[Figure] = []
    staged_at: datetime | None = None
    staged_by: str | None = None
    served_p99_s: float | None = None


class Models(msgspec.Struct, frozen=True, kw_only=True):
    """Of `GET /models`."""

    routes: list[Route]
    versions: list[Version]


class StagedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Of `POST /models/stage`."""

    version: str
    new: bool


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """Of `POST /models/retire`."""

    version: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A field in which two versions differ."""

    name: str
    one: object = None
    other: object = None


class FigureOfBoth(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured of one version, the other, or both."""

    what: str
    one: Figure | None = None
    other: Figure | None = None


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """How two versions judge the golden windows of one of them."""

    of: str
    windows: int
    both: int
    only_one: int
    only_other: int
    score_apart: float


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """Of `GET /models/diff`."""

    one: str
    other: str
    contract: list[Difference]
    card: list[Difference]
    measured: list[FigureOfBoth]
    golden: list[Said]
    without: str | None = None
