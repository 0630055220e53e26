"""The API: who may read and decide, what an act needs, and what is answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.twins import ASSET, OTHER, Twin, applied, approved, control, head, power, promotion, proposed

from twinloop.contracts.changes import Hold, Issued, Parameter, Rejected, signing_bytes
from twinloop.contracts.controls import Endorsed, KillSwitchSet, ModeRequested, Overridden, OverrideCleared
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import CHANGES
from twinloop.trust.keys import Trusted


class Web:
    """Asks the API as a person."""

    def __init__(self, twin: Twin, client: httpx.AsyncClient) -> None:
        self.twin = twin
        self._client = client

    async def get(self, path: str, person: str | None = "vera") -> httpx.Response:
        return await self._client.get(path, headers=_headers(person))

    async def post(self, path: str, person: str | None, **body: Any) -> httpx.Response:
        return await self._client.post(path, headers=_headers(person), json=body)

    async def act(self, path: str, person: str | None, reason: str = "looks right") -> httpx.Response:
        return await self.post(path, person, reason=reason)


def _headers(person: str | None) -> dict[str, str]:
    return {} if person is None else {"Authorization": f"Bearer {person}"}


async def served(twin: Twin) -> AsyncIterator[Web]:
    transport = httpx.ASGITransport(twin.api)
    async with httpx.AsyncClient(transport=transport, base_url="http://twin") as client:
        yield Web(twin, client)


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    """A twin in SUPERVISED, with a change `c` that waits for a person."""
    twin = Twin(tmp_path)
    await waiting(twin)
    async for one in served(twin):
        yield one


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Web]:
    """The same where two persons must agree."""
    twin = Twin(tmp_path, four_eyes=True)
    await waiting(twin)
    async for one in served(twin):
        yield one


async def waiting(twin: Twin) -> None:
    twin.read(*promotion(Mode.SUPERVISED))
    twin.observe()
    twin.read(proposed(expires_s=600.0, mode=Mode.SUPERVISED))
    await twin.decide()
    assert twin.told() == ["simulated"]


# ---- reading


@pytest.mark.parametrize("path", ["/assets", f"/assets/{ASSET}", "/changes", "/changes/c"])
async def test_reading_needs_a_person_who_is_known(web: Web, path: str) -> None:
    for nobody in (None, "mallory"):
        answer = await web.get(path, nobody)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["problem"]
    assert (await web.get(path)).status_code == 200


async def test_a_change_is_shown_with_both_forecasts_beside_the_proposal(web: Web) -> None:
    view = (await web.get("/changes/c")).json()
    assert view["action"] == {
        "type": "set_parameter",
        "parameter": "laser_power_w",
        "value": 1020.0,
        "expected": 1000.0,
    }
    assert view["do_this"]["expected_uohm"] < view["do_nothing"]["expected_uohm"]
    assert "a person approves" in view["waits_for"]
    assert [one["state"] for one in view["states"]] == ["proposed", "simulated"]


async def test_changes_are_found_by_asset_state_and_number(web: Web) -> None:
    web.twin.read(proposed("d"), Rejected(**head("rejected", "d"), approver="p", reason="x"))

    async def ids(query: str) -> list[str]:
        return [one["change_id"] for one in (await web.get(f"/changes?{query}")).json()]

    assert sorted(await ids("")) == ["c", "d"]
    assert await ids("state=rejected") == ["d"]
    assert await ids(f"asset={OTHER}") == []
    assert len(await ids("limit=1")) == 1
    assert (await web.get("/changes?state=nonsense")).status_code == 422
    assert (await web.get("/changes?limit=-1")).status_code == 422


async def test_an_asset_is_shown_with_its_shadow(web: Web) -> None:
    view = (await web.get(f"/assets/{ASSET}")).json()
    assert view["decided_here"]
    assert view["shadow"]["mode"]["actual"] == "supervised"
    assert view["shadow"]["in_flight"]["change_id"] == "c"
    assert view["shadow"]["reported"]["laser_power_w"]["value"] == 1000.0
    assert view["calibration"] == {"outcomes": 0, "coverage": None, "bias_uohm": None, "problem": None}
    assert 0.8 < view["transmission"] < 1.0
    assert (await web.get("/assets/nobody")).status_code == 404


async def test_every_path_and_its_errors_are_documented(web: Web) -> None:
    paths = (await web.get("/openapi.json")).json()["paths"]
    for path, verbs in paths.items():
        for verb, told in verbs.items():
            assert {"200", "401", "403", "422"} <= set(told["responses"]), (verb, path)
            assert told["responses"]["200"]["content"]["application/json"]["schema"]
            if verb == "post":
                assert {"404", "409", "503"} <= set(told["responses"]), path
    assert len(paths) == 8


# ---- deciding


async def test_a_person_releases_a_change_under_its_own_name(web: Web) -> None:
    answer = await web.act("/changes/c/approve", "olaf")
    assert answer.status_code == 200
    view = answer.json()
    assert (view["state"], view["decided_by"], view["decision"]) == (
        "approved",
        "person:olaf",
        "looks right",
    )
    event = web.twin.last()
    assert event.envelope.approver == "person:olaf"
    assert event.envelope.mode is Mode.SUPERVISED
    assert (event.envelope.expires_at - event.envelope.issued_at).total_seconds() == 5.0
    Trusted([web.twin.signer.public]).verify(signing_bytes(event.envelope), event.signature, event.key_id)
    assert (await web.act("/changes/c/approve", "otto")).status_code == 409
    assert (await web.act("/changes/c/veto", "otto")).status_code == 409
    assert web.twin.told() == ["simulated", "approved"]


async def test_a_person_vetoes_a_change(web: Web) -> None:
    view = (await web.act("/changes/c/veto", "olaf", "wrong recipe")).json()
    assert (view["state"], view["decided_by"], view["decision"]) == (
        "rejected",
        "person:olaf",
        "wrong recipe",
    )
    assert (await web.act("/changes/c/approve", "olaf")).status_code == 409


ACTS = ["/changes/c/approve", "/changes/c/veto", f"/assets/{ASSET}/hand-back"]


@pytest.mark.parametrize("path", ACTS)
async def test_an_act_needs_a_role(web: Web, path: str) -> None:
    assert (await web.act(path, None)).status_code == 401
    refused = await web.act(path, "vera")
    assert refused.status_code == 403
    assert "operator" in refused.json()["problem"]
    assert web.twin.told() == ["simulated"]


@pytest.mark.parametrize("path", [*ACTS, f"/assets/{ASSET}/mode"])
@pytest.mark.parametrize("reason", ["", "  \n"])
async def test_an_act_needs_a_reason(web: Web, path: str, reason: str) -> None:
    body = {"mode": "shadow"} if path.endswith("mode") else {}
    answer = await web.post(path, "ella", reason=reason, **body)
    assert answer.status_code == 422
    assert "reason" in answer.json()["problem"]
    assert (await web.post(path, "ella", **body)).status_code == 422
    assert not web.twin.audit.entries


async def test_what_is_not_there_is_not_decided(web: Web) -> None:
    for path in ("/changes/nothing/approve", "/changes/nothing/veto", "/assets/nobody/hand-back"):
        assert (await web.act(path, "olaf")).status_code == 404
    answer = await web.post("/assets/nobody/mode", "ella", mode="auto", reason="x")
    assert answer.status_code == 404


async def test_after_the_deadline_nobody_releases(web: Web) -> None:
    web.twin.clock.advance(600)
    answer = await web.act("/changes/c/approve", "olaf")
    assert answer.status_code == 409
    assert "deadline" in answer.json()["problem"]


async def test_where_nobody_may_act_a_person_may_not_either(web: Web) -> None:
    web.twin.read(KillSwitchSet(**control("kill"), by="person:olaf", reason="smoke"))
    answer = await web.act("/changes/c/approve", "ella")
    assert answer.status_code == 409
    assert "kill switch" in answer.json()["problem"]


async def test_another_twins_asset_is_not_decided_here(web: Web) -> None:
    web.twin.held.clear()
    assert (await web.act("/changes/c/approve", "olaf")).status_code == 404  # not even known
    answer = await web.post(f"/assets/{ASSET}/mode", "ella", mode="auto", reason="x")
    assert answer.status_code == 503
    assert "another member" in answer.json()["problem"]
    assert answer.headers["retry-after"]
    view = (await web.get(f"/assets/{ASSET}")).json()
    assert (view["decided_here"], view["shadow"]) == (False, None)


# ---- four eyes


async def test_two_different_persons_must_agree(two: Web) -> None:
    first = (await two.act("/changes/c/approve", "olaf", "I saw the window")).json()
    assert (first["state"], [one["by"] for one in first["endorsed"]]) == ("simulated", ["person:olaf"])
    endorsed = two.twin.last()
    assert isinstance(endorsed, Endorsed)
    again = await two.act("/changes/c/approve", "olaf")
    assert again.status_code == 409
    assert "second person" in again.json()["problem"]
    second = (await two.act("/changes/c/approve", "otto", "so did I")).json()
    assert (second["state"], second["decided_by"]) == ("approved", "person:otto")
    assert "with person:olaf: I saw the window" in second["decision"]
    assert two.twin.told() == ["simulated", "endorsed", "approved"]


async def test_an_agreement_outlives_a_restart(two: Web) -> None:
    two.twin.read(Endorsed(**head("endorsed"), by="person:olaf", reason="x"))
    assert (await two.act("/changes/c/approve", "otto")).json()["state"] == "approved"


async def test_stopping_needs_one_person_only(two: Web) -> None:
    two.twin.read(proposed("hold", Hold(reason="gap"), mode=Mode.SUPERVISED))
    await two.twin.decide()
    assert (await two.act("/changes/hold/approve", "olaf")).json()["state"] == "approved"


# ---- modes


async def ask(web: Web, mode: str, person: str) -> httpx.Response:
    return await web.post(f"/assets/{ASSET}/mode", person, mode=mode, reason="because")


async def test_an_engineer_promotes_by_one_step_and_an_operator_does_not(web: Web) -> None:
    refused = await ask(web, "auto", "olaf")
    assert refused.status_code == 403
    answer = await ask(web, "auto", "ella")
    assert answer.json() == {"asset": ASSET, "requested": "auto", "actual": "supervised"}
    event = web.twin.last()
    assert isinstance(event, ModeRequested)
    assert (event.mode, event.by, event.reason) == (Mode.AUTO, "person:ella", "because")
    # What is published is in force when it is read, in the log's order.
    assert web.twin.ledger.governance(ASSET).pending is None
    web.twin.read(event)
    assert (await ask(web, "auto", "ella")).status_code == 409


async def test_two_steps_at_once_are_refused(web: Web) -> None:
    web.twin.read(ModeRequested(**control("down"), mode=Mode.SHADOW, by="person:ella", reason="x"))
    answer = await ask(web, "auto", "ella")
    assert answer.status_code == 409
    assert "one step" in answer.json()["problem"]


async def test_an_operator_demotes(web: Web) -> None:
    assert (await ask(web, "shadow", "olaf")).status_code == 200
    web.twin.read(web.twin.last())
    assert web.twin.ledger.governance(ASSET).actual is Mode.SHADOW
    assert (await ask(web, "shadow", "olaf")).status_code == 409
    assert (await ask(web, "off", "olaf")).status_code == 200
    assert (await ask(web, "sideways", "ella")).status_code == 422


async def test_an_override_is_handed_back_once(web: Web) -> None:
    assert (await web.act(f"/assets/{ASSET}/hand-back", "olaf")).status_code == 409
    override = Overridden(
        **control("over"), parameter=Parameter.LASER_POWER_W, value=950.0, expected=1000.0, reason="panel"
    )
    web.twin.read(override)
    assert (await ask(web, "supervised", "ella")).status_code == 409
    answer = await web.act(f"/assets/{ASSET}/hand-back", "olaf", "done")
    assert answer.json() == {"asset": ASSET, "actual": "shadow"}
    event = web.twin.last()
    assert isinstance(event, OverrideCleared)
    web.twin.read(event)
    assert not web.twin.ledger.governance(ASSET).manual
    # The next override is another one.
    again = Overridden(
        **control("over2"), parameter=Parameter.LASER_POWER_W, value=940.0, expected=950.0, reason="panel"
    )
    web.twin.read(again)
    assert (await web.act(f"/assets/{ASSET}/hand-back", "olaf", "done")).status_code == 200
    web.twin.read(web.twin.last())
    assert not web.twin.ledger.governance(ASSET).manual


# ---- nobody decides what nobody can write down


async def test_while_the_audit_store_is_away_no_act_is_done(web: Web) -> None:
    web.twin.audit.away = "the disk is full"
    before = len(web.twin.out.of(CHANGES))
    answers = [await web.act(path, "ella") for path in ACTS[:2]] + [await ask(web, "auto", "ella")]
    for answer in answers:
        assert answer.status_code == 503
        assert "disk is full" in answer.json()["problem"]
    assert len(web.twin.out.of(CHANGES)) == before


async def test_what_is_released_already_is_not_vetoed(web: Web) -> None:
    one = proposed("r", power(1010.0))
    web.twin.read(one)
    await web.twin.decide()
    web.twin.read(approved(one))
    answer = await web.act("/changes/r/veto", "olaf")
    assert answer.status_code == 409
    assert "kill switch" in answer.json()["problem"]
    web.twin.read(Issued(**head("issued", "r"), command_sequence=1), applied(one))
    assert "applied already" in (await web.act("/changes/r/veto", "olaf")).json()["problem"]
