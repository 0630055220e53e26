"""Plays the points on a scene, one after the other."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from bench_capacity.conclude import Built, Remembered
from bench_capacity.loads import Http, paced, to_kafka
from bench_capacity.measured import Measured, measured
from bench_capacity.meter import Snapshot
from bench_capacity.points import BUILT, FLOAT, NARROW, REMEMBERED, TOLD, Point
from bench_capacity.scene import Say, Scene, stations
from twinloop.contracts import codec
from twinloop.contracts.field import BuiltJoint, BuiltModule, BuiltPack, VehicleBuilt
from twinloop.contracts.topics import GENEALOGY
from twinloop.local.weld import FAULTS
from twinloop.runtime.kafka.clients import publisher

JOINTS = 96


async def play(scene: Scene, points: Sequence[Point], say: Say) -> list[Measured]:
    """Each point, from its first frame until everybody has read everything."""
    found = []
    for point in points:
        before = await scene.look()
        frames = await _send(scene, point)
        after = await scene.drained(before, frames)
        one = measured(point, before, after, frames)
        found.append(one)
        cores = ", ".join(f"{name} {cpu / one.seconds:.2f}" for name, cpu in one.cpu_s.items())
        say(f"{point.name:8} {frames / one.seconds:8,.0f} frames/s for {one.seconds:4.1f} s; cores: {cores}")
    return found


async def _send(scene: Scene, point: Point) -> int:
    """Returns how many frames."""
    where = scene.stack.endpoints
    if point.kind == "idle":
        await asyncio.sleep(point.seconds)
        return 0
    if point.kind == "http":
        async with Http(where.health["ingest"], point.shape, point.name, point.assets) as http:
            return await paced(http.send, point.frames_per_s, point.seconds)
    if point.kind in ("kafka", "drain"):
        rate = point.frames_per_s if point.kind == "kafka" else None
        total = round(10_000 * point.seconds)
        return await to_kafka(where.kafka, point.shape, point.name, point.assets, rate, total, point.seconds)
    welds = round(point.hz * point.seconds)
    names = stations()
    await scene.panel.start(
        {
            "name": point.name,
            "welds": welds,
            "rate_hz": point.hz,
            "seed": 7,
            "stations": names,
            "faults": {one: list(FAULTS[point.fault]) for one in names} if point.fault else {},
            "own_noise": True,
        }
    )
    progress = await scene.panel.finished(30 + 3 * point.seconds)
    return sum(one.welds_done for one in progress.stations.values())  # the loop may stop a station


async def remember(scene: Scene, short: bool) -> list[Remembered]:
    """Tell the detector, and ingest, of assets that it has not heard of, and see what that leaves."""
    where = scene.stack.endpoints
    now = await scene.look()
    found = [Remembered("kafka", 0, 0, dict(now.rss))]
    for number, (shape, assets) in enumerate(REMEMBERED[short]):
        frames = assets * (math.ceil(shape.window / shape.rows) + 1)
        await to_kafka(where.kafka, shape, f"told{number}", assets, None, frames, 0)
        now = await scene.drained(now, frames)
        found.append(Remembered("kafka", assets, shape.window * shape.signals * FLOAT, dict(now.rss)))
    found.append(Remembered("http", 0, 0, dict(now.rss)))
    async with Http(where.health["ingest"], NARROW, "told", TOLD[short]) as http:
        await http.send(TOLD[short])
    now = await scene.drained(now, TOLD[short])
    return [*found, Remembered("http", TOLD[short], 0, dict(now.rss))]


async def build(scene: Scene, short: bool) -> list[Built]:
    """Tell the controller of vehicles, joint by joint, and see what that leaves."""
    known = 0
    found = [_built(await scene.look(), 0)]
    async with publisher(scene.stack.endpoints.kafka, "", asyncio.Event()) as out:
        for more in BUILT[short]:
            for begin in range(known, known + more, 50):
                some = range(begin, min(begin + 50, known + more))
                await out.publish([codec.message(GENEALOGY, _vehicle(n), source="bench") for n in some])
            known += more
            async with asyncio.timeout(60):
                while (now := await scene.look()).counted[
                    "controller:twinloop_controller_field_vehicles"
                ] < known:
                    await asyncio.sleep(0.1)
            found.append(_built(now, known))
    return found


def _built(now: Snapshot, vehicles: int) -> Built:
    return Built(vehicles, now.rss["controller"], now.cpu_s["controller"], now.log.get(GENEALOGY.name, 0))


def _vehicle(number: int) -> VehicleBuilt:
    """A vehicle with a joint for each cell group."""
    at = datetime(2025, 1, 20, tzinfo=UTC) + timedelta(minutes=number)
    joints = tuple(
        BuiltJoint(
            cell_group=group,
            part_id=f"part-{number:06d}-{group:02d}",
            station=f"acme.berlin.packs.line1.weld{group % 2 + 1}",
            sequence=number * JOINTS + group,
            welded_at=at - timedelta(hours=1),
            recipe="cu-al-tab-7",
            resistance_uohm=46.0 + group / 100,
            baseline_uohm=0.5,
            baseline_se_uohm=0.1,
        )
        for group in range(JOINTS)
    )
    pack = BuiltPack(
        pack_id=f"pack-{number:06d}", modules=(BuiltModule(module_id=f"module-{number:06d}", joints=joints),)
    )
    return VehicleBuilt(
        event_id=f"{number:032x}",
        asset=f"vehicle.{number:032x}",
        at=at,
        observed_at=at,
        trace_id=f"{number:032x}",
        packs=(pack,),
    )
