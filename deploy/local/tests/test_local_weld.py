"""What `make weld` asks the plant for is what the plant takes."""

from __future__ import annotations

import json

import httpx
import pytest

from twinloop.local.errors import CannotStart
from twinloop.local.weld import FAULTS, STATIONS, Order, weld
from twinloop.simulator.panel import parse_campaign


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_the_plant_understands_it(fault: str | None) -> None:
    order = Order(40, 20.0, fault, 3)
    campaign = parse_campaign(json.dumps(order.campaign()).encode(), STATIONS)
    assert (campaign.welds, campaign.rate_hz, campaign.own_noise) == (40, 20.0, True)
    assert bool(campaign.faults) is (fault is not None)


def test_it_says_what_is_welded() -> None:
    assert set(FAULTS) == {"window-drift", "defocus", "gap"}
    assert (
        Order(40, 20.0, None, 3).in_words()
        == "weld1 and weld2 weld 40 parts each, 20 a second: nothing is wrong"
    )
    assert Order(40, 2.5, "defocus", 3).in_words().endswith("2.5 a second: the focus jumps by 0.8 mm")


async def test_a_plant_that_is_away_or_refuses_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    order, real = Order(0, 20.0, None, 3), httpx.AsyncClient

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(422, json={"problems": [{"field": "welds", "problem": "1 or more"}]})

    with pytest.raises(CannotStart, match=r"does not answer at http://127\.0\.0\.1:1"):
        await weld("http://127.0.0.1:1", order, wait=False, say=print)
    monkeypatch.setattr(
        httpx, "AsyncClient", lambda **given: real(transport=httpx.MockTransport(answer), **given)
    )
    with pytest.raises(CannotStart, match=r"The plant refuses: .*1 or more"):
        await weld("http://plant", order, wait=False, say=print)
