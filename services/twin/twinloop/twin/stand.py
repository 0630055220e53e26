"""Where each process stands, for whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from twinloop.twin.assets import Asset, TwinAssets
from twinloop.twin.calibrator import Calibrator
from twinloop.twin.errors import NotKnown
from twinloop.twin.estimate import Part, estimate, unexplained_plasma
from twinloop.twin.ledger import Ledger
from twinloop.twin.mirror import Mirror
from twinloop.twin.models import Processes
from twinloop.twin.observe import Observations
from twinloop.twin.process import ProcessModel
from twinloop.twin.views import AssetView, calibration_view, shadow_view


class Stand:
    """Of every asset in the file; more of those that are decided about here."""

    def __init__(
        self,
        assets: TwinAssets,
        processes: Processes,
        observations: Observations,
        mirror: Mirror,
        calibrator: Calibrator,
        ledger_of: Callable[[str], Ledger | None],
    ) -> None:
        self._assets = assets
        self._processes = processes
        self._observations = observations
        self._mirror = mirror
        self._calibrator = calibrator
        self._ledger_of = ledger_of

    @property
    def assets(self) -> list[str]:
        """Their names, as in the file."""
        return list(self._assets.assets)

    async def of(self, asset: str) -> AssetView:
        """Raises `NotKnown`."""
        if asset not in self._assets.assets:
            raise NotKnown(f"{asset} is not followed here; there are {', '.join(self._assets.assets)}")
        seen, own = self._observations.of(asset), self._assets.assets[asset]
        parts = list(seen.parts.values())
        # In a thread, with a copy: it takes some milliseconds, and decisions must not wait.
        model = self._processes.of(own.process)
        estimated = await asyncio.to_thread(_estimated, model, own, parts)
        at = seen.newest_setpoints
        shadow, ledger = self._mirror.shadow(asset), self._ledger_of(asset)
        return AssetView(
            asset=asset,
            process=own.process,
            process_version=None if isinstance(model, str) else model.card.version,
            problem=model if isinstance(model, str) else None,
            decided_here=ledger is not None,
            parts=len(parts),
            newest_sequence=seen.newest_sequence if seen.newest_sequence >= 0 else None,
            newest_at=seen.newest_at,
            resistance_uohm=seen.resistance_uohm,
            power_w=None if at is None else at.power_w,
            focus_mm=None if at is None else at.focus_mm,
            **estimated,
            shadow=None if shadow is None else shadow_view(shadow),
            calibration=None if ledger is None else calibration_view(self._calibrator.of(ledger, asset)),
        )


def _estimated(model: ProcessModel | str, own: Asset, parts: Sequence[Part]) -> dict[str, Any]:
    """The state that explains `parts`, as far as there is one."""
    state = None if isinstance(model, str) or not parts else estimate(model, parts)
    if isinstance(model, str) or state is None:
        return dict.fromkeys(("transmission", "focus_error_mm", "unexplained_plasma", "gap_suspected"))
    transmission, error_mm = state.mean
    excess = unexplained_plasma(model, state, parts[-own.estimate.minimum :])
    return {
        "transmission": round(transmission, 4),
        "focus_error_mm": round(error_mm, 3),
        "unexplained_plasma": round(excess, 3),
        "gap_suspected": excess > own.estimate.gap_plasma,
    }
