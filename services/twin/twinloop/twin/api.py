"""The twin over HTTP: where each process stands, what waits for a person, and what persons decide.

Whoever asks says who he is (`Authorization: Bearer ...`). Viewers read; operators approve, veto, demote and
hand back; engineers promote. Every act needs a reason, and is answered once Kafka has it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from aiokafka.errors import KafkaError
from fastapi import FastAPI, Query, WebSocket

from twinloop.audit.errors import AuditAway
from twinloop.contracts.changes import State
from twinloop.runtime.kafka.clients import UNACKNOWLEDGED
from twinloop.trust.acts import Acts, documented
from twinloop.trust.bearer import Access, guarded, protect
from twinloop.trust.people import Person, Role, require
from twinloop.twin.desk import Desk
from twinloop.twin.errors import Conflict, NotHere, NotKnown
from twinloop.twin.following import follow
from twinloop.twin.ledger import Change, Ledger
from twinloop.twin.metrics import Metrics
from twinloop.twin.mirror import Mirror
from twinloop.twin.stand import Stand
from twinloop.twin.stream import Hub
from twinloop.twin.views import (
    AssetView,
    Because,
    ChangeView,
    HandBackAnswer,
    ModeAnswer,
    ModeWanted,
    change_view,
)

_STATUS: dict[type[Exception], int] = {
    NotKnown: 404,
    Conflict: 409,
    NotHere: 503,
    AuditAway: 503,
    KafkaError: 503,
}
_MEANING = {
    401: "Nobody is known by what the request carries.",
    403: "The person's role does not allow it.",
    404: "There is no such asset or change here.",
    409: "It does not fit what is in force; the text says why.",
    422: "The request is incomplete: a reason is part of every act.",
    503: "Another twin decides about the asset, or the audit store or Kafka is away. Ask again.",
}
_documented = partial(documented, _MEANING)

Operator = Annotated[Person, guarded(Role.OPERATOR)]


def make_api(
    stand: Stand,
    desk: Desk,
    mirror: Mirror,
    hub: Hub,
    access: Access,
    ledgers: Callable[[], list[Ledger]],
    waits_for: Callable[[str], str | None],
    metrics: Metrics,
) -> FastAPI:
    """`/assets`, `/changes`, the acts of persons on both, and the WebSocket `/stream`."""
    api = FastAPI(
        title="Twinloop twin",
        description=__doc__,
        docs_url="/docs",
        redoc_url=None,
        responses=_documented(401, 403, 422),
    )
    protect(api, access)
    acts = Acts(_STATUS, metrics.requests, {KafkaError: UNACKNOWLEDGED})
    acts.protect(api)

    viewer = guarded(Role.VIEWER)

    def view(change: Change) -> ChangeView:
        change_id = change.proposed.change_id
        ledger = next((one for one in ledgers() if one.find(change_id) is not None), None)
        return change_view(change, ledger, waits_for(change_id))

    # Not in threads: a rebalance changes the ledgers that are held, on the loop.

    @api.get("/assets", dependencies=[viewer])
    async def all_assets() -> list[AssetView]:
        """Where each process stands, its shadow, and how the twin's forecasts came true."""
        return [await stand.of(name) for name in stand.assets]

    @api.get("/assets/{asset}", dependencies=[viewer], responses=_documented(404))
    async def one_asset(asset: str) -> AssetView:
        """The same of one asset."""
        return await stand.of(asset)

    @api.get("/changes", dependencies=[viewer])
    async def changes(
        asset: str | None = None,
        state: State | None = None,
        limit: Annotated[int, Query(ge=0, le=1000)] = 50,
    ) -> list[ChangeView]:
        """The newest changes first, of the assets decided about here: open ones, and those ended lately."""
        found = [(one, ledger) for ledger in ledgers() for one in ledger.recent()]
        found = [
            (one, ledger)
            for one, ledger in found
            if asset in (None, one.proposed.asset) and state in (None, one.state)
        ]
        found.sort(key=lambda pair: pair[0].proposed.at, reverse=True)
        return [change_view(one, ledger, waits_for(one.proposed.change_id)) for one, ledger in found[:limit]]

    @api.get("/changes/{change_id}", dependencies=[viewer], responses=_documented(404))
    async def one_change(change_id: str) -> ChangeView:
        """A change, with both forecasts beside what is proposed."""
        return view(desk.find(change_id))

    @api.post("/changes/{change_id}/approve", responses=_documented(404, 409, 503))
    async def approve(change_id: str, because: Because, person: Operator) -> ChangeView:
        """Release a change (operator). Where two persons must agree, the first one's agreement is kept."""
        return view(await acts.counted("approve", desk.approve(change_id, person.who, because.reason)))

    @api.post("/changes/{change_id}/veto", responses=_documented(404, 409, 503))
    async def veto(change_id: str, because: Because, person: Operator) -> ChangeView:
        """Reject a change that is not released yet (operator)."""
        return view(await acts.counted("veto", desk.veto(change_id, person.who, because.reason)))

    @api.post("/assets/{asset}/mode", responses=_documented(404, 409, 503))
    async def mode(asset: str, wanted: ModeWanted, person: Operator) -> ModeAnswer:
        """Ask for a mode: one step up (engineer), or any number down (operator)."""

        async def ask() -> ModeAnswer:
            if desk.promotes(asset, wanted.mode):
                require(person, Role.ENGINEER)
            was = await desk.request_mode(asset, wanted.mode, person.who, wanted.reason)
            return ModeAnswer(asset=asset, requested=wanted.mode, actual=was.actual)

        return await acts.counted("mode", ask())

    @api.post("/assets/{asset}/hand-back", responses=_documented(404, 409, 503))
    async def hand_back(asset: str, because: Because, person: Operator) -> HandBackAnswer:
        """End an operator's override (operator). It takes a promotion to act on the asset again."""
        was = await acts.counted("hand-back", desk.hand_back(asset, person.who, because.reason))
        return HandBackAnswer(asset=asset, actual=was.actual)

    @api.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        """Every change, every control event, and each shadow that changed (viewer)."""
        await follow(socket, hub, mirror, access, stand.assets)

    return api
