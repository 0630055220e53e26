"""What becomes of an act: the answer, its words, and how it is counted."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from prometheus_client import CollectorRegistry, Counter

from twinloop.trust.acts import Acts, documented
from twinloop.trust.errors import NotAllowed

STATUSES: dict[type[Exception], int] = {KeyError: 404, OSError: 503}


@pytest.mark.parametrize(
    ("error", "status", "told", "again"),
    [
        (None, 200, None, None),
        (KeyError("one"), 404, "'one'", None),
        (ConnectionError("gone"), 503, "nobody answers (gone)", "2"),
    ],
)
async def test_an_error_has_a_status_and_words_and_is_counted(
    error: Exception | None, status: int, told: str | None, again: str | None
) -> None:
    registry, api = CollectorRegistry(), FastAPI()
    acts = Acts(STATUSES, requests_in(registry), {ConnectionError: "nobody answers ({})"})
    acts.protect(api)

    async def do() -> str:
        if error is not None:
            raise error
        return "done"

    @api.post("/act")
    async def act() -> str:
        return await acts.counted("act", do())

    async with AsyncClient(transport=ASGITransport(api), base_url="http://twin") as client:
        answer = await client.post("/act")
    assert answer.status_code == status
    assert answer.json() == ("done" if told is None else {"problem": told})
    assert answer.headers.get("Retry-After") == again
    assert counted(registry, status) == 1


@pytest.mark.parametrize(("error", "status"), [(NotAllowed("no"), 403), (ValueError("what"), 500)])
async def test_what_others_answer_is_counted_too(error: Exception, status: int) -> None:
    registry = CollectorRegistry()

    async def do() -> None:
        raise error

    with pytest.raises(type(error)):
        await Acts(STATUSES, requests_in(registry)).counted("act", do())
    assert counted(registry, status) == 1


def test_statuses_are_documented_with_their_meaning() -> None:
    found = documented({404: "none", 503: "away"}, 404)
    assert {status: one["description"] for status, one in found.items()} == {404: "none"}


def requests_in(registry: CollectorRegistry) -> Counter:
    return Counter("requests_total", "of persons", ["act", "status"], registry=registry)


def counted(registry: CollectorRegistry, status: int) -> float | None:
    return registry.get_sample_value("requests_total", {"act": "act", "status": str(status)})
