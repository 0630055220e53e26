"""The API of the line: what the stations do, and the kill switch. It works with Kafka and the PLC away, too.

    GET  /stations                                  viewer
    POST /kill        {"reason", "asset"?}          operator
    POST /kill/clear  {"reason", "asset"?}          engineer

Without `asset` all stations are meant. `POST /kill` answers when the switch is in force, saved, and every
device was asked to take its control back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, StringConstraints

from twinloop.audit.errors import AuditAway
from twinloop.audit.port import Audit
from twinloop.line.errors import NotKilled
from twinloop.line.kill import KillSwitch, Stop
from twinloop.line.ledger import Ledger
from twinloop.line.limits import LineLimits
from twinloop.line.vigil import Vigil
from twinloop.runtime.observability import logging
from twinloop.trust.bearer import Access, guarded, problem, protect
from twinloop.trust.people import Person, Role

log = logging.logger(__name__)

_AUDIT_S = 2.0


class Order(BaseModel):
    """Why, and which station; all of them without `asset`."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
    asset: str | None = None


class StationView(BaseModel):
    """One station. `device` is what its PLC held at the last beat, `None` when it did not answer; `mode` is
    the one in force here, `actual` what the log says."""

    asset: str
    station: str
    mode: str
    actual: str | None
    manual: bool
    control_source: str | None
    holds_control: bool
    kill_switch: str | None
    device: dict[str, Any] | None


class StationsView(BaseModel):
    """All stations of this line, and the switch for all of them."""

    kill_switch: str | None
    stations: list[StationView]


class Stopped(BaseModel):
    """`saved`: it survives this process. `released`: the device of each station said that it has control."""

    assets: list[str]
    saved: bool
    released: dict[str, bool]


class Cleared(BaseModel):
    """Stations that no kill switch of this service stops any more. They are in SHADOW."""

    assets: list[str]


def api(
    access: Access,
    limits: LineLimits,
    kill: KillSwitch,
    vigil: Vigil,
    audit: Audit,
    ledger_of: Callable[[str], Ledger | None],
) -> FastAPI:
    """The service's HTTP API."""
    app = FastAPI(title="Twinloop line", version="1", summary="Stations, and the switch that stops them.")
    protect(app, access)

    @app.get("/stations")
    async def stations(_: Annotated[Person, guarded(Role.VIEWER)]) -> StationsView:
        """What every station does, and who may act on it."""
        views = [_view(asset, limits, kill, vigil, ledger_of(asset)) for asset in sorted(limits.assets)]
        return StationsView(kill_switch=_words(kill.everything), stations=views)

    @app.post("/kill", response_model=Stopped)
    async def stop(order: Order, person: Annotated[Person, guarded(Role.OPERATOR)]) -> Any:
        """Stop: nothing is commanded any more, and control goes back to the devices."""
        if order.asset is not None and order.asset not in limits.assets:
            return problem(404, f"this line has no asset {order.asset!r}")
        stopped = kill.set(person.who, order.reason, order.asset)
        reason = f"kill switch by {person.who}: {order.reason}"
        released, saved, _ = await asyncio.gather(
            asyncio.gather(*(vigil.release(asset, reason) for asset in stopped)),
            _saved(kill),
            _audited(audit, stopped, person, order.reason),
        )
        log.warning("kill switch set", by=person.who, assets=stopped, saved=saved)
        return Stopped(assets=stopped, saved=saved, released=dict(zip(stopped, released, strict=True)))

    @app.post("/kill/clear", response_model=Cleared)
    async def clear(order: Order, person: Annotated[Person, guarded(Role.ENGINEER)]) -> Any:
        """Clear: the stations may be promoted again, from SHADOW. Not while it cannot be written down."""
        if order.asset is not None and order.asset not in limits.assets:
            return problem(404, f"this line has no asset {order.asset!r}")
        of = sorted(limits.assets) if order.asset is None else [order.asset]

        def logged(asset: str) -> bool:
            ledger = ledger_of(asset)
            return ledger is not None and ledger.governance(asset).killed

        try:
            kill.check_set(order.asset, logged)
            for asset in of:
                await audit.append(
                    asset=asset, who=person.who, what="cleared the kill switch", reason=order.reason
                )
            freed = await kill.clear(person.who, order.reason, order.asset)
        except NotKilled as error:
            return problem(409, str(error))
        except (AuditAway, OSError) as error:
            return problem(503, f"it stays set, because this cannot be written down: {error}")
        log.warning("kill switch cleared", by=person.who, assets=freed)
        return Cleared(assets=freed)

    return app


async def _saved(kill: KillSwitch) -> bool:
    try:
        await kill.save()
    except OSError as error:
        log.error("the kill switch is in force and cannot be saved", problem=str(error))
        return False
    return True


async def _audited(audit: Audit, stopped: list[str], person: Person, reason: str) -> None:
    """Written down as far as possible: stopping waits for nothing."""
    entries = [
        audit.append(asset=asset, who=person.who, what="set the kill switch", reason=reason)
        for asset in stopped
    ]
    try:
        async with asyncio.timeout(_AUDIT_S):
            await asyncio.gather(*entries)
    except (AuditAway, TimeoutError) as error:
        log.error("the kill switch is in force and not audited", problem=repr(error))


def _view(
    asset: str, limits: LineLimits, kill: KillSwitch, vigil: Vigil, ledger: Ledger | None
) -> StationView:
    device, state = vigil.device(asset), None if ledger is None else ledger.governance(asset)
    return StationView(
        asset=asset,
        station=limits.assets[asset].station,
        mode=vigil.effective(asset),
        actual=None if state is None else state.actual,
        manual=state is not None and state.manual,
        control_source=None if device is None else device.control_source,
        holds_control=vigil.holds(asset),
        kill_switch=kill.in_force(asset)
        or ("set, by the log" if state is not None and state.killed else None),
        device=None if device is None else {one: getattr(device, one) for one in type(device).__slots__},
    )


def _words(stop: Stop | None) -> str | None:
    return None if stop is None else str(stop)
