"""What a served model promises, and which one serves whom."""

from __future__ import annotations

import msgspec

from twinloop.contracts.times import Instant


class ModelContract(msgspec.Struct, frozen=True, kw_only=True):
    """The promise of one model version.

    Input `windows`: float32 [N, `window`, len(`signals`)]. Outputs: `score` float32 [N]; `features` and
    `deviations` float32 [N, len(`features`)]. A window is anomalous when score > `threshold`.
    `window` and `hop` are in samples; `digest` is the SHA-256 (hex) of the ONNX file.
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


class ModelRoute(msgspec.Struct, frozen=True, kw_only=True, tag="model_route"):
    """Who is served by a version: `scope` is an asset path, or a signal set for every other asset with it."""

    event_id: str
    scope: str
    at: Instant
    contract: ModelContract
