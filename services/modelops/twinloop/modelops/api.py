"""The life of models over HTTP: what there is, and the verbs that change it.

Whoever asks says who he is (`Authorization: Bearer ...`). Viewers read; a data scientist does everything; an
operator may take back, too. Every act needs a reason, and is answered once it is in force.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

from aiokafka.errors import KafkaError
from fastapi import FastAPI, Query, Request

from twinloop.audit.errors import AuditAway
from twinloop.contracts.models import EVERY_MODEL, ModelNamespace, ModelRoute
from twinloop.modelops.desk import Desk
from twinloop.modelops.errors import Conflict, NotHere, NotKnown, Refused, TooLarge
from twinloop.modelops.metrics import Metrics
from twinloop.modelops.plan import Said, named
from twinloop.modelops.staging import Staging
from twinloop.modelops.stand import Stand
from twinloop.modelops.views import (
    CanaryAsked,
    DiffView,
    ModelsView,
    PromoteAsked,
    Reason,
    RetireAsked,
    RetiredView,
    RollbackAsked,
    RouteView,
    ShadowAsked,
    StagedView,
    VersionName,
    route_view,
    version_of,
)
from twinloop.runtime.clock import Clock
from twinloop.runtime.kafka.clients import UNACKNOWLEDGED
from twinloop.tritonio.errors import TritonError
from twinloop.trust.acts import Acts, documented
from twinloop.trust.bearer import Access, guarded, protect
from twinloop.trust.people import Person, Role

_STATUS: dict[type[Exception], int] = {
    NotKnown: 404,
    Conflict: 409,
    TooLarge: 413,
    Refused: 422,
    NotHere: 503,
    AuditAway: 503,
    KafkaError: 503,
    TritonError: 503,
}
_MEANING = {
    401: "Nobody is known by what the request carries.",
    403: "The person's role does not allow it.",
    404: "There is no such version.",
    409: "It does not fit what is in force; the text says why.",
    413: "The artefact is larger than allowed.",
    422: "The request is incomplete, or the artefact was refused: the text names the step and the reason.",
    503: "Another process decides, or Triton, the audit store or Kafka is away. Ask again.",
}
_documented = partial(documented, _MEANING)

DataScientist = Annotated[Person, guarded(Role.DATA_SCIENTIST)]
OrOperator = Annotated[Person, guarded(Role.DATA_SCIENTIST, Role.OPERATOR)]


def make_api(
    stand: Stand,
    desk: Desk,
    staging: Staging,
    access: Access,
    clock: Clock,
    metrics: Metrics,
    *,
    upload_bytes: int,
    names: ModelNamespace = EVERY_MODEL,
) -> FastAPI:
    """`GET /models`, `GET /models/diff`, and a POST for each verb that changes something."""
    api = FastAPI(
        title="Twinloop modelops",
        description=__doc__,
        docs_url="/docs",
        redoc_url=None,
        responses=_documented(401, 403, 422),
    )
    protect(api, access)
    acts = Acts(_STATUS, metrics.requests, {KafkaError: UNACKNOWLEDGED})
    acts.protect(api)
    viewer = guarded(Role.VIEWER)

    def meant(text: str) -> tuple[str, int]:
        model, version = version_of(text)
        return names.full(model), version

    def view(route: ModelRoute) -> RouteView:
        return route_view(route, None)

    @api.get("/models", dependencies=[viewer], responses=_documented(503))
    async def models(model: str | None = None) -> ModelsView:
        """Who is served by what, what is on trial and what it has shown, and every version there is."""
        return await stand.models(model)

    @api.get("/models/diff", dependencies=[viewer], responses=_documented(404))
    async def diff(one: VersionName, other: VersionName) -> DiffView:
        """Two versions: what they promise, what their cards say, and how both judge the golden windows."""
        return await stand.diff(meant(one), meant(other))

    @api.post(
        "/models/stage",
        responses=_documented(413, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def stage(
        request: Request, reason: Annotated[Reason, Query()], person: DataScientist
    ) -> StagedView:
        """Check an artefact, and put it into service for nobody yet. The body is an uncompressed tar."""

        async def do() -> StagedView:
            sent = await _body(request, upload_bytes)
            held, new = await staging.stage(sent, Said(person.who, reason, clock.now()))
            return StagedView(version=named(held.contract), new=new, digest=held.contract.digest)

        return await acts.counted("stage", do())

    @api.post("/models/shadow", responses=_documented(404, 409, 503))
    async def shadow(asked: ShadowAsked, person: DataScientist) -> RouteView:
        """Try a version beside the one that serves; it decides for nobody."""
        doing = desk.shadow(asked.scope, meant(asked.version), asked.terms(), person.who, asked.reason)
        return view(await acts.counted("shadow", doing))

    @api.post("/models/canary", responses=_documented(404, 409, 503))
    async def canary(asked: CanaryAsked, person: DataScientist) -> RouteView:
        """Let a version decide for some assets."""
        version = None if asked.version is None else meant(asked.version)
        doing = desk.canary(
            asked.scope,
            version,
            asked.share,
            asked.assets,
            asked.terms(),
            person.who,
            asked.reason,
            cold=asked.cold,
        )
        return view(await acts.counted("canary", doing))

    @api.post("/models/promote", responses=_documented(404, 409, 503))
    async def promote(asked: PromoteAsked, person: DataScientist) -> RouteView:
        """Let a version serve; the one before stays ready."""
        version = None if asked.version is None else meant(asked.version)
        doing = desk.promote(asked.scope, version, person.who, asked.reason, cold=asked.cold)
        return view(await acts.counted("promote", doing))

    @api.post("/models/rollback", responses=_documented(404, 409, 503))
    async def rollback(asked: RollbackAsked, person: OrOperator) -> RouteView:
        """End the trial, or let the version before serve again (also an operator)."""
        return view(await acts.counted("rollback", desk.rollback(asked.scope, person.who, asked.reason)))

    @api.post("/models/retire", responses=_documented(404, 409, 503))
    async def retire(asked: RetireAsked, person: DataScientist) -> RetiredView:
        """Unload a version that no route names, once nobody asks it any more."""
        await acts.counted("retire", desk.retire(meant(asked.version), person.who, asked.reason))
        return RetiredView(version=asked.version)

    return api


async def _body(request: Request, most: int) -> bytes:
    """What is sent; no more than `most` bytes are ever held. Raises `TooLarge`."""
    sent = bytearray()
    async for part in request.stream():
        sent += part
        if len(sent) > most:
            raise TooLarge(
                f"an artefact may have {most} bytes: send fewer golden windows, or ask for more room"
            )
    return bytes(sent)
