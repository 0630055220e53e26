"""What a controller of the reference station may do, for whoever judges one.

Read from the line's file and not through its code: who judges does not ask the judged.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CONFIG = Path(__file__).parents[2] / "deploy" / "local" / "config"
STATION = "weld1"
AREA = "acme.berlin.packs.line1"
ASSET = f"{AREA}.{STATION}"

POWER, FOCUS, HOLD = "laser_power_w", "focus_mm", "hold"
LIMIT = "end_of_line_limit_uohm"

LIMIT_UOHM = 55.0
"""A joint above this is scrap."""
RATE_HZ = 20.0


@dataclass(frozen=True, slots=True)
class Actuator:
    """Of one setpoint, in its unit. `hard` and `operator` are (low, high)."""

    hard: tuple[float, float]
    operator: tuple[float, float]
    step: float
    deadband: float


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits of each setpoint, and how many parts must lie between two changes."""

    actuators: dict[str, Actuator]
    cooldown_parts: int


@cache
def rules() -> Rules:
    """Those of the station that the demo closes the loop at."""
    table = tomllib.loads((CONFIG / "line.toml").read_text())["assets"][ASSET]
    return Rules(
        {
            name: Actuator(
                hard=(table[name]["hard"]["low"], table[name]["hard"]["high"]),
                operator=(table[name]["operator"]["low"], table[name]["operator"]["high"]),
                step=table[name]["step"],
                deadband=table[name]["deadband"],
            )
            for name in (POWER, FOCUS)
        },
        table["cooldown"]["parts"],
    )
