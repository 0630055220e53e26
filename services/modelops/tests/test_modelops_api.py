"""The API: who may do what, what an act needs, and what is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.artefacts import SIGNAL_SET, artefact_of, windows_of
from support.modelops import PEOPLE, Ops

from twinloop.contracts.packing import packed
from twinloop.modelops import desk
from twinloop.tritonio.artefact import pack


class Web:
    """Asks the API as a person."""

    def __init__(self, ops: Ops, client: httpx.AsyncClient) -> None:
        self.ops = ops
        self._client = client

    async def get(self, path: str, person: str | None = "vera") -> httpx.Response:
        return await self._client.get(path, headers=_headers(person))

    async def act(self, verb: str, person: str | None = "dana", **body: Any) -> httpx.Response:
        return await self._client.post(
            f"/models/{verb}", headers=_headers(person), json={"reason": "because", **body}
        )

    async def stage(self, sent: bytes, person: str | None = "dana", reason: str = "new") -> httpx.Response:
        return await self._client.post(
            "/models/stage", params={"reason": reason}, headers=_headers(person), content=sent
        )


def _headers(person: str | None) -> dict[str, str]:
    return {} if person is None else {"Authorization": f"Bearer {person}"}


@pytest.fixture
async def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Web]:
    """`level:1` serves, `level:2` is there."""
    monkeypatch.setattr(desk, "_LOOK_S", 0.001)
    ops = Ops(tmp_path)
    await ops.two()
    await ops.look()
    await ops.look(11.0)
    transport = httpx.ASGITransport(ops.api)
    async with httpx.AsyncClient(transport=transport, base_url="http://modelops") as client:
        yield Web(ops, client)


MADE = artefact_of("level", 3.0)

ACTS: dict[str, dict[str, Any]] = {
    "shadow": {"version": "level:2"},
    "canary": {"version": "level:2", "share": 0.1},
    "promote": {"version": "level:2"},
    "rollback": {"scope": SIGNAL_SET},
    "retire": {"version": "level:2"},
}


async def test_a_data_scientist_does_it_all_alone(web: Web) -> None:
    staged = await web.stage(packed(pack(MADE)))
    assert staged.status_code == 200
    assert staged.json() == {"version": "level:3", "new": True, "digest": MADE.contract.digest}
    route = (await web.act("shadow", version="level:3")).json()
    assert (route["scope"], route["serving"], route["trial"]["version"]) == (SIGNAL_SET, "level:1", "level:3")
    route = (await web.act("canary", scope=SIGNAL_SET, share=0.25, assets=["acme.weld1"])).json()
    assert (route["trial"]["share"], route["trial"]["assets"]) == (0.25, ["acme.weld1"])
    route = (await web.act("promote", scope=SIGNAL_SET)).json()
    assert (route["serving"], route["trial"], route["previous"]) == ("level:3", None, "level:1")
    assert (route["by"], route["reason"]) == ("person:dana", "because")
    route = (await web.act("rollback", scope=SIGNAL_SET)).json()
    assert (route["serving"], route["previous"]) == ("level:1", None)
    await web.ops.look()
    await web.ops.look(11.0)
    assert (await web.act("retire", version="level:2")).json() == {"version": "level:2"}
    assert await web.ops.server.versions("level") == (1, 3)


@pytest.mark.parametrize("person", [*PEOPLE, None, "mallory"])
@pytest.mark.parametrize("verb", [*ACTS, "stage"])
async def test_an_act_needs_a_role(web: Web, verb: str, person: str | None) -> None:
    """Nobody who works at the machines needs to, but an operator may take back."""
    published = len(web.ops.routes.published)
    answer = await (web.stage(b"", person) if verb == "stage" else web.act(verb, person, **ACTS[verb]))
    role = PEOPLE.get(person or "")
    if role is None:
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    elif role == "data_scientist" or (verb == "rollback" and role in ("operator", "engineer")):
        assert answer.status_code not in (401, 403)
        return
    else:
        assert answer.status_code == 403
        assert "data_scientist" in answer.json()["problem"]
    assert len(web.ops.routes.published) == published


@pytest.mark.parametrize("verb", ACTS)
@pytest.mark.parametrize("reason", ["", "  \n", None])
async def test_an_act_needs_a_reason(web: Web, verb: str, reason: str | None) -> None:
    answer = await web.act(verb, **ACTS[verb], reason=reason)
    assert answer.status_code == 422
    assert "reason" in answer.json()["problem"]
    assert len(web.ops.routes.published) == 1


async def test_staging_needs_a_reason_too(web: Web) -> None:
    for reason in ("", " "):
        answer = await web.stage(packed(pack(MADE)), reason=reason)
        assert answer.status_code == 422
        assert "reason" in answer.json()["problem"]


BAD: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "no such version": ("shadow", {"version": "level:9"}, 404, "there is no level:9"),
    "no version at all": ("shadow", {"version": "level"}, 422, "version"),
    "a path": ("retire", {"version": "../x:1"}, 422, "version"),
    "it serves": ("retire", {"version": "level:1"}, 409, "serves level.v1"),
    "nothing on trial": ("promote", {"scope": SIGNAL_SET}, 409, "name the one to promote"),
    "nothing named, nothing on trial": ("promote", {}, 409, "no version is on trial: name the one"),
    "a share of more than all": ("canary", {"version": "level:2", "share": 1.5}, 422, "share"),
    "no number": ("canary", {"version": "level:2", "share": "nan"}, 422, "share"),
    "a budget of everything": ("shadow", {"version": "level:2", "more_alarms": 0.9}, 422, "more_alarms"),
    "a word too much": ("shadow", {"version": "level:2", "force": True}, 422, "force"),
    "an unknown scope": ("rollback", {"scope": "weld.v1"}, 409, "no version serves weld.v1"),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_what_cannot_be_done_is_answered_in_one_sentence(
    web: Web, bad: tuple[str, dict[str, Any], int, str]
) -> None:
    verb, body, status, said = bad
    answer = await web.act(verb, **body)
    assert (answer.status_code, said in answer.json()["problem"]) == (status, True), answer.json()
    assert "\n" not in answer.json()["problem"]


async def test_an_artefact_that_is_refused_is_answered_with_step_and_reason(web: Web) -> None:
    answer = await web.stage(packed(pack(artefact_of("level", 3.0, error=0.5))))
    assert answer.status_code == 422
    assert answer.json()["problem"].startswith("compare: it answers otherwise than the trainer's computation")
    answer = await web.stage(b"x" * 1_000_001)
    assert answer.status_code == 413
    assert "1000000 bytes" in answer.json()["problem"]


async def test_while_something_is_away_it_is_to_be_asked_again(web: Web) -> None:
    web.ops.audit.away = "the disk is full"
    answer = await web.act("shadow", version="level:2")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    web.ops.audit.away = None
    web.ops.server.away = True
    answer = await web.stage(packed(pack(MADE)))
    assert (answer.status_code, answer.json()["problem"]) == (503, "the server is away")


async def test_the_list_says_who_is_served_by_what_and_what_a_trial_has_shown(web: Web) -> None:
    await web.stage(packed(pack(MADE)))
    await web.act("shadow", version="level:3")
    web.ops.watch.sync()
    await web.ops.watch.judge()
    said = (await web.get("/models")).json()
    (route,) = said["routes"]
    assert route["trial"]["finding"] == "goes_on"
    assert "not enough to tell yet" in route["trial"]["why"]
    versions = {one["version"]: one for one in said["versions"]}
    assert {name: (one["state"], one["scopes"], one["served"]) for name, one in versions.items()} == {
        "level:1": ("serving", [SIGNAL_SET], True),
        "level:2": ("staged", [], True),
        "level:3": ("trial", [SIGNAL_SET], True),
    }
    assert versions["level:3"]["architecture"] == "means"
    assert versions["level:3"]["staged_by"] == "person:dana"
    assert versions["level:3"]["measured"][0]["what"] == "F1 on a test"
    assert versions["level:1"]["architecture"] is None
    assert (await web.get("/models?model=other")).json() == {"routes": [], "versions": []}
    web.ops.server.away = True
    versions = (await web.get("/models")).json()["versions"]
    assert [one["served"] for one in versions] == [False] * 3


async def test_two_versions_are_shown_side_by_side(web: Web) -> None:
    for factor in (3.0, 4.0):
        await web.stage(packed(pack(artefact_of("level", factor))))
    said = (await web.get("/models/diff?one=level:3&other=level:4")).json()
    assert [one["name"] for one in said["contract"]] == ["digest"]
    assert said["card"] == []
    assert said["measured"][0]["one"]["value"] == 0.9
    assert [(one["of"], one["windows"]) for one in said["golden"]] == [("level:3", 16), ("level:4", 16)]
    (golden, _) = said["golden"]
    scores = windows_of(16).mean(axis=1).sum(axis=1)
    assert golden["both"] == int((3 * scores > 1).sum())
    assert golden["only_other"] == int(((4 * scores > 1) & (3 * scores <= 1)).sum())
    assert said["without"] is None
    plain = (await web.get("/models/diff?one=level:1&other=level:2")).json()
    assert (plain["golden"], plain["without"]) == ([], "neither brought golden windows")
    await web.stage(packed(pack(artefact_of("wide", 1.0, window=9))))
    wide = (await web.get("/models/diff?one=level:3&other=wide:1")).json()
    assert "of another length" in wide["without"]
    assert (await web.get("/models/diff?one=level:3&other=level:9")).status_code == 404
    assert (await web.get("/models/diff?one=level:3&other=9")).status_code == 422


@pytest.mark.parametrize("path", ["/models", "/models/diff?one=level:1&other=level:2"])
async def test_reading_needs_a_person_who_is_known(web: Web, path: str) -> None:
    for nobody in (None, "mallory"):
        assert (await web.get(path, nobody)).status_code == 401
    for person in PEOPLE:
        assert (await web.get(path, person)).status_code == 200


async def test_every_path_and_its_errors_are_documented(web: Web) -> None:
    paths = (await web.get("/openapi.json")).json()["paths"]
    for path, verbs in paths.items():
        for verb, told in verbs.items():
            assert {"200", "401", "403", "422"} <= set(told["responses"]), (verb, path)
            assert told["responses"]["200"]["content"]["application/json"]["schema"]
            if verb == "post":
                assert "503" in told["responses"], path
    assert len(paths) == 8


async def test_acts_are_counted_by_how_they_ended(web: Web) -> None:
    await web.act("shadow", version="level:2")
    await web.act("shadow", version="level:1")
    for status in ("200", "409"):
        labels = {"verb": "shadow", "status": status}
        assert web.ops.registry.get_sample_value("twinloop_modelops_requests_total", labels) == 1.0
