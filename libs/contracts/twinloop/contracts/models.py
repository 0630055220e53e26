"""What a served model promises, and which one serves whom."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from twinloop.contracts.times import Instant


class ModelContract(msgspec.Struct, frozen=True, kw_only=True):
    """The promise of one model version.

    Input `windows`: float32 [N, `window`, len(`signals`)]. Outputs: `score` float32 [N]; `features` and
    `deviations` float32 [N, len(`features`)]. A window is anomalous when score > `threshold`.
    `window` and `hop` are in samples; `digest` is the SHA-256 (hex) of the ONNX file.

    A model with `memory` M > 0 is recurrent: it also takes `memory` float32 [N, M], what it answered as
    `next_memory` [N, M] to the same asset's window before, or zeros for an asset's first one.

    `columns`: the signals of a frame of `signal_set`, in their order; empty: they are `signals`. It reads
    only its own of them. `quiet`: of so many windows of an asset, at its beginning or after its memory is
    lost, it gives no verdict worth comparing.
    """

    model: str
    version: int
    signal_set: str
    signals: tuple[str, ...]
    features: tuple[str, ...]
    window: int
    hop: int
    threshold: float
    digest: str
    memory: int = 0
    columns: tuple[str, ...] = ()
    quiet: int = 0

    @property
    def frame(self) -> tuple[str, ...]:
        """The signals of a frame, in their order: its columns."""
        return self.columns or self.signals


@dataclass(frozen=True, slots=True)
class ModelNamespace:
    """The models of one site among those of a Triton that several share: their names are `prefix` and one
    name without a dot. Without a prefix all are."""

    prefix: str = ""

    def full(self, model: str) -> str:
        """The name in Triton of what this site calls `model`; such a name itself stays as it is."""
        return model if self.has(model) else self.prefix + model

    def has(self, model: str) -> bool:
        """Whether this is the name in Triton of a model of this site."""
        return not self.prefix or (model.startswith(self.prefix) and "." not in model[len(self.prefix) :])

    def foreign(self, route: ModelRoute) -> str | None:
        """The first model that `route` names and this site has not."""
        return next((one.model for one in route.versions() if not self.has(one.model)), None)


EVERY_MODEL = ModelNamespace()


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A figure with its 95 % interval, where there is one: `what` says of what, on which data, and how."""

    what: str
    value: float
    low: float | None = None
    high: float | None = None


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """What a model has learnt from. Times are those of the first and the last sample."""

    source: str
    assets: tuple[str, ...]
    windows: int
    since: Instant | None = None
    until: Instant | None = None


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """How features, and `score`, lay in what was learnt from: of each the values at `QUANTILES`. Of so many
    `windows`, counted as if none overlapped."""

    windows: int
    quantiles: dict[str, tuple[float, ...]]


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a person should know of a model before it serves. `digest` is that of its ONNX file, `seed` that
    of what was drawn by chance, where anything was.

    `reference`: of each feature, and of `score`, the values at `QUANTILES` of the windows that it learnt
    from: drift is measured against them, as of `reference_windows` that do not overlap (0: as of all that
    were learnt from). Of assets in `by_asset` it is measured against their own. Of what has learnt nothing
    both are empty. A model that calibrates itself at each asset has only scores, and only by asset.
    """

    model: str
    digest: str
    at: Instant
    architecture: str
    trained: Trained
    settings: dict[str, float | int | str]
    seed: int | None = None
    measured: tuple[Measured, ...]
    limits: tuple[str, ...]
    reference: dict[str, tuple[float, ...]]
    reference_windows: int = 0
    by_asset: dict[str, Reference] = {}

    def reference_of(self, asset: str) -> Reference | None:
        """What drift at `asset` is measured against, if there is anything."""
        if asset in self.by_asset:
            return self.by_asset[asset]
        windows = self.reference_windows or self.trained.windows
        return Reference(windows=windows, quantiles=self.reference) if self.reference else None


QUANTILES = tuple(n / 20 for n in range(21))

ARTEFACT_FILES = ("model.onnx", "contract.json", "card.json", "golden.npz")
"""What training makes and staging takes: a folder, or a tar of it."""


class ModelMemory(msgspec.Struct, frozen=True, kw_only=True, tag="model_memory"):
    """What version `model_version` of `model` remembers of `asset`, whose telemetry is in `topic`: `values`
    are float32, little endian, for the input `memory` of its next window."""

    event_id: str
    topic: str
    asset: str
    signal_set: str
    model: str
    model_version: int
    at: Instant
    values: bytes

    @property
    def key(self) -> str:
        """The record's key: one for each asset and version."""
        return "|".join((self.topic, self.asset, self.signal_set, self.model, str(self.model_version)))


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """A version on trial: it judges all assets of a route beside the version that serves (shadow), and
    decides for `assets` and for a `share`, 0 to 1, of the others (canary).

    `every`: meanwhile the verdict on at least one of so many windows is published, of both. It was `begun`
    with this version and the one that serves. Windows with an alarm may be more by the share `more_alarms` of
    all; with `auto` it is promoted once it is shown that they are not.
    """

    contract: ModelContract
    share: float = 0.0
    assets: tuple[str, ...] = ()
    every: int = 1
    begun: Instant | None = None
    more_alarms: float = 0.01
    auto: bool = False

    def decides_for(self, asset: str) -> bool:
        """Whether `asset` is among its own. Those of a smaller share are among those of a larger one."""
        if asset in self.assets:
            return True
        digest = hashlib.sha256(f"{self.contract.model}\x1f{asset}".encode()).digest()
        return int.from_bytes(digest[:4], "big") < self.share * 2**32


class ModelRoute(msgspec.Struct, frozen=True, kw_only=True, tag="model_route"):
    """Who is served by a version: `scope` is an asset path, or a signal set for every other asset with it.

    `previous` served before and is kept ready to serve again. `by` has decided it, for `reason`.
    """

    event_id: str
    scope: str
    at: Instant
    contract: ModelContract
    trial: Trial | None = None
    previous: ModelContract | None = None
    by: str = ""
    reason: str = ""

    def versions(self) -> tuple[ModelContract, ...]:
        """Every version that must be loaded."""
        trial = None if self.trial is None else self.trial.contract
        return tuple(one for one in (self.contract, trial, self.previous) if one is not None)
