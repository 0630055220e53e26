"""What the demo plays: a campaign at the plant's panel, and which services take part.

Pure data. Whether a scenario ended as it must is decided by `twinloop.local.demo.verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

AREA: Final = "acme.berlin.packs.line1"
CLOSED: Final = "weld1"
OPEN: Final = "weld2"


def asset(station: str) -> str:
    """The ISA-95 path of a station of the reference line."""
    return f"{AREA}.{station}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A campaign of `welds` parts at each of `stations`, with faults injected into the plant.

    All stations weld with the same seed, so the same noise. The controller's configuration leaves the loop
    open at `weld2`. `left_out` services are not started.
    """

    name: str
    story: str
    welds: int
    rate_hz: float
    stations: tuple[str, ...] = (CLOSED,)
    faults: tuple[dict[str, Any], ...] = ()
    plc: dict[str, Any] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    seed: int = 7

    def campaign(self) -> dict[str, Any]:
        """The request for the plant's panel."""
        return {
            "name": self.name,
            "welds": self.welds,
            "rate_hz": self.rate_hz,
            "seed": self.seed,
            "stations": list(self.stations),
            "faults": {station: list(self.faults) for station in self.stations},
            "plc": dict.fromkeys(self.stations, self.plc) if self.plc else {},
        }


HEALTHY_WELDS: Final = 400


def healthy_welds() -> dict[str, Any]:
    """What the weld model is trained on, at one station and another seed."""
    return _at_closed("healthy-welds", HEALTHY_WELDS, seed=1)


def set_up() -> dict[str, Any]:
    """A part, made with the setpoints that every campaign begins with."""
    return _at_closed("set-up", 1, seed=3)


def trials(planned: list[dict[str, Any]]) -> dict[str, Any]:
    """Welds at setpoints of a plan, at the same station: what the process model is identified from."""
    return _at_closed("trials", sum(one["welds"] for one in planned), seed=2) | {"trials": planned}


def _at_closed(name: str, welds: int, *, seed: int) -> dict[str, Any]:
    return {
        "name": name,
        "welds": welds,
        "rate_hz": 50.0,
        "seed": seed,
        "stations": [CLOSED],
        "faults": {},
        "plc": {},
    }


_DRIFT: Final = {"kind": "window_drift", "start": 50, "per_weld": -0.0004}

SCENARIOS: Final[dict[str, Scenario]] = {
    one.name: one
    for one in (
        Scenario(
            "window-drift",
            "the protective window gets dirty, 0.04 % a weld, at two stations with the same noise",
            welds=850,
            rate_hz=20,
            stations=(CLOSED, OPEN),
            faults=(_DRIFT,),
        ),
        Scenario(
            "defocus",
            "the focus jumps by 0.8 mm",
            welds=350,
            rate_hz=10,  # a jump: 20 parts that nothing mends stop the station, on a slow machine, too
            faults=({"kind": "defocus", "start": 50, "offset_mm": 0.8},),
        ),
        Scenario(
            "gap",
            "the sheets stand 140 µm apart",
            welds=200,
            rate_hz=20,
            faults=({"kind": "gap", "start": 50, "gap_um": 140.0},),
        ),
        Scenario("healthy", "nothing is wrong", welds=2000, rate_hz=40),
        Scenario(
            "plc-refuses",
            "the window gets dirty and the PLC refuses every write",
            welds=400,
            rate_hz=20,
            faults=(_DRIFT,),
            plc={"refuse_writes": True},
        ),
        Scenario(
            "line-off",
            "the window gets dirty and nothing carries changes to the PLC",
            welds=650,
            rate_hz=20,
            stations=(CLOSED, OPEN),
            faults=(_DRIFT,),
            left_out=frozenset({"line"}),
        ),
    )
}
