"""Vehicles of the simulator: how soon a joint that grows is told of, from minutes of driving.

Nothing is learnt here: `cells` is a least-squares line. Minutes go through the detector with it, and what it
says through the controller's own judgement against each group's baseline.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np

from eval.service import BEGAN, Service, frame_of
from twinloop.contracts.field import BuiltJoint, VehicleAnomaly
from twinloop.controller.field.vehicles import Watched, watch
from twinloop.simulator.fleets.months import BASELINE_SE_UOHM
from twinloop.simulator.fleets.vehicle import cells, frames
from twinloop.trainer.cells_onnx import SIGNAL_SET, contract_of, to_onnx

GROUPS = 96
VEHICLES = 40
MINUTES = 6
GROWN_UOHM = (0.0, 10.0, 15.0, 20.0, 30.0, 50.0)
"""How much the joint of one group has gained when it is looked at."""
_JOINT_OHM = 42e-6


@dataclass(frozen=True, slots=True)
class Told:
    """Vehicles with a joint that has gained so much: how many were told of it within `MINUTES` minutes, the
    median minute, and how often another group was blamed."""

    grown_uohm: float
    vehicles: int
    told: int
    median_minute: float | None
    wrong: int


async def evaluate(seed: int = 2_000_000) -> list[Told]:
    """Drive and judge."""
    onnx = to_onnx(GROUPS)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder))
        contract = await service.serve(contract_of(GROUPS, onnx), onnx, SIGNAL_SET)
        assert contract.threshold == 0
        for n, grown in enumerate(GROWN_UOHM):
            found.append(await _told(service, grown, np.random.default_rng([seed, n])))
    return found


async def _told(service: Service, grown_uohm: float, draw: np.random.Generator) -> Told:
    ohm = cells(draw, VEHICLES, GROUPS) + _JOINT_OHM
    apart = (ohm - np.median(ohm, axis=1, keepdims=True)) * 1e6
    baseline = apart + BASELINE_SE_UOHM * draw.standard_normal(apart.shape)
    which = draw.integers(0, GROUPS, VEHICLES)
    ohm[np.arange(VEHICLES), which] += grown_uohm * 1e-6
    known = {name(one): Watched() for one in range(VEHICLES)}
    when: dict[str, int] = {}
    wrong = 0
    for minute in range(MINUTES):
        at = BEGAN + timedelta(days=minute)
        rows = frames(draw, ohm, np.full(VEHICLES, 1000.0))
        sent = [frame_of(name(one), SIGNAL_SET, minute, rows[one]) for one in range(VEHICLES)]
        for seen in await service.anomalies(sent):
            one = int(seen.asset.rpartition(".")[2])
            seen = msgspec.structs.replace(seen, observed_at=at)
            known[seen.asset], events = watch(known[seen.asset], seen, _joints(baseline[one]), BEGAN, at)
            for event in events:
                if isinstance(event, VehicleAnomaly):
                    right = event.cell_group == which[one] and grown_uohm > 0
                    wrong += not right
                    if right:
                        when.setdefault(seen.asset, minute + 1)
    median = float(np.median(list(when.values()))) if when else None
    return Told(grown_uohm, VEHICLES, len(when), median, wrong)


def name(vehicle: int) -> str:
    return f"vehicle.{vehicle}"


def _joints(baseline: np.ndarray) -> list[BuiltJoint]:
    return [
        BuiltJoint(
            cell_group=group,
            part_id="",
            station="",
            sequence=0,
            welded_at=BEGAN,
            recipe="",
            resistance_uohm=0.0,
            baseline_uohm=float(value),
            baseline_se_uohm=BASELINE_SE_UOHM,
        )
        for group, value in enumerate(baseline)
    ]
