"""`make weld`: lets the plant of a running stack weld, to learn from and to detect in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from twinloop.local.demo.panel import Panel
from twinloop.local.demo.scenarios import CLOSED, OPEN, SCENARIOS
from twinloop.local.errors import CannotStart

STATIONS: Final = (CLOSED, OPEN)
FAULTS: Final[Mapping[str, tuple[dict[str, Any], ...]]] = {
    name: one.faults for name, one in SCENARIOS.items() if one.faults and not one.plc and not one.left_out
}
"""What can be wrong with the process, by the name of the scenario that plays it."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """So many parts at each station, so many a second. `fault`: one of `FAULTS`, or nothing is wrong. `seed`
    fixes the noise, which each station has of its own."""

    welds: int
    rate_hz: float
    fault: str | None
    seed: int

    def campaign(self) -> dict[str, Any]:
        """The request for the plant's panel."""
        return {
            "name": self.fault or "healthy",
            "welds": self.welds,
            "rate_hz": self.rate_hz,
            "seed": self.seed,
            "stations": list(STATIONS),
            "faults": {one: list(FAULTS[self.fault]) for one in STATIONS} if self.fault else {},
            "own_noise": True,
        }

    def in_words(self) -> str:
        """For the terminal."""
        wrong = SCENARIOS[self.fault].story if self.fault else "nothing is wrong"
        return f"{' and '.join(STATIONS)} weld {self.welds} parts each, {self.rate_hz:g} a second: {wrong}"


async def weld(url: str, order: Order, *, wait: bool, say: Say) -> None:
    """Start welding at the plant whose panel is at `url`, in place of what is under way.

    `wait`: until it is done. Raises `CannotStart`.
    """
    try:
        async with Panel(url) as panel:
            await panel.start(order.campaign())
            say(order.in_words())
            if wait:
                progress = await panel.finished(30 + 3 * order.welds / order.rate_hz)
                done = ", ".join(f"{name} {one.welds_done}" for name, one in progress.stations.items())
                say(f"welded: {done}")
    except httpx.HTTPStatusError as error:
        raise CannotStart(f"The plant refuses: {error.response.text}") from error
    except httpx.HTTPError as error:
        raise CannotStart(
            f"The plant does not answer at {url}: see `make logs SERVICE=simulator`."
        ) from error
    except TimeoutError:
        raise CannotStart("The welds do not end: see `make logs SERVICE=simulator`.") from None
