"""When which vehicle sends a minute of its driving, and the message it sends. Pure.

A vehicle sends at equal intervals, from a moment of its own within the first one after it is on the road.
The minute is sent as it would be months ago: its times are those of the event, not of the sending.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from twinloop.simulator.fleets.vehicle import SECONDS

SIGNAL_SET = "vehicle.cells.v1"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """All minutes in the order of time: vehicle, hours since the start, and which of the vehicle's it is."""

    vehicle: Ints
    at_h: Floats
    sequence: Ints


def plan(on_road_h: Floats, until_h: float, per_week: float, generator: np.random.Generator) -> Plan:
    """When vehicles that are on the road from `on_road_h` [V] on send, up to `until_h`."""
    every_h = 7 * 24 / per_week
    first_h = on_road_h + every_h * generator.random(len(on_road_h))
    counts = np.maximum(0, np.ceil((until_h - first_h) / every_h)).astype(np.int64)
    vehicle = np.repeat(np.arange(len(counts)), counts)
    sequence = np.arange(len(vehicle)) - np.repeat(np.cumsum(counts) - counts, counts)
    at_h = first_h[vehicle] + every_h * sequence
    order = np.argsort(at_h, kind="stable")
    return Plan(vehicle[order], at_h[order], sequence[order])


def message(samples: NDArray[np.float32], sequence: int, ended_at: datetime) -> bytes:
    """The JSON of a minute, float32 [SECONDS, signals] as packed samples, that ended at `ended_at`."""
    told = {
        "signal_set": SIGNAL_SET,
        "sequence": sequence,
        "first_at": (ended_at - timedelta(seconds=SECONDS - 1)).isoformat(),
        "period_us": 1_000_000,
        "samples": base64.b64encode(samples.astype("<f4", copy=False).tobytes()).decode(),
    }
    return json.dumps(told).encode()
