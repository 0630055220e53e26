"""The architectures, by name."""

from __future__ import annotations

from typing import Final

from twinloop.trainer.training.detectors.base import Detector
from twinloop.trainer.training.detectors.drift_filter import DriftFilter
from twinloop.trainer.training.detectors.novelty import Novelty
from twinloop.trainer.training.detectors.whitened import Autoencoder, Mahalanobis

DETECTORS: Final[dict[str, type[Detector]]] = {
    "drift-filter": DriftFilter,
    "novelty": Novelty,
    "mahalanobis": Mahalanobis,
    "autoencoder": Autoencoder,
}
