"""The twin over HTTP: where each process stands, and what became of changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import FastAPI, HTTPException

from twinloop.twin.assets import TwinAssets
from twinloop.twin.estimate import estimate, unexplained_plasma
from twinloop.twin.ledger import Change, Ledger, times
from twinloop.twin.models import Processes
from twinloop.twin.observe import Observations


def make_api(
    assets: TwinAssets, observations: Observations, ledgers: Callable[[], list[Ledger]], processes: Processes
) -> FastAPI:
    """`GET /assets`, `/assets/{asset}`, `/changes?asset=&limit=`."""
    api = FastAPI(title="Twinloop twin", docs_url="/docs", redoc_url=None)

    def asset_view(name: str) -> dict[str, Any]:
        seen = observations.of(name)
        view: dict[str, Any] = {
            "asset": name,
            "process": assets.assets[name].process,
            "process_version": None,
            "problem": None,
            "parts": len(seen.parts),
            "newest_sequence": seen.newest_sequence if seen.newest_sequence >= 0 else None,
            "newest_at": seen.newest_at,
            "resistance_uohm": seen.resistance_uohm,
        }
        if seen.newest_setpoints is not None:
            view |= {"power_w": seen.newest_setpoints.power_w, "focus_mm": seen.newest_setpoints.focus_mm}
        parts, model = list(seen.parts.values()), processes.of(assets.assets[name].process)
        if isinstance(model, str):
            return view | {"problem": model}
        view["process_version"] = model.card.version
        state = estimate(model, parts) if parts else None
        if state is not None:
            transmission, error_mm = state.mean
            excess = unexplained_plasma(model, state, parts[-assets.assets[name].estimate.minimum :])
            view |= {
                "transmission": round(transmission, 4),
                "focus_error_mm": round(error_mm, 3),
                "unexplained_plasma": round(excess, 3),
                "gap_suspected": excess > assets.assets[name].estimate.gap_plasma,
            }
        return view

    @api.get("/assets")
    def all_assets() -> list[dict[str, Any]]:
        return [asset_view(name) for name in assets.assets]

    @api.get("/assets/{asset}")
    def one_asset(asset: str) -> dict[str, Any]:
        if asset not in assets.assets:
            known = ", ".join(assets.assets)
            raise HTTPException(404, f"{asset} is not followed here; there are {known}")
        return asset_view(asset)

    @api.get("/changes")
    async def changes(asset: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        # Not in a thread: a rebalance changes the ledgers that are held, on the loop.
        found = [one for ledger in ledgers() for one in ledger.recent()]
        found = [one for one in found if asset is None or one.proposed.asset == asset]
        found.sort(key=lambda one: one.proposed.at, reverse=True)
        return [_change_view(one) for one in found[: max(0, limit)]]

    return api


def _change_view(change: Change) -> dict[str, Any]:
    proposed = change.proposed
    view: dict[str, Any] = msgspec.to_builtins(
        {
            "change_id": proposed.change_id,
            "asset": proposed.asset,
            "action": proposed.action,
            "diagnosis": proposed.diagnosis,
            "reason": proposed.reason,
            "state": change.state,
            "states": times(change),
            "do_nothing": change.do_nothing,
            "do_this": change.do_this,
        }
    )
    return view
