"""The whole loop across containers: ingest, verdict, change, PLC; and every service drains when told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.images import image
from support.topics import events
from support.yard import IN_YARD, PORT, Running, Yard, healthy, kafka, mqtt, triton

from twinloop.contracts.changes import Applied
from twinloop.contracts.events import JointWelded
from twinloop.contracts.modes import Mode
from twinloop.contracts.topics import CHANGES, GENEALOGY, SCORES
from twinloop.local.demo.commissioning import commission
from twinloop.local.demo.operator import People
from twinloop.local.demo.panel import Panel
from twinloop.local.demo.scenarios import CLOSED, SCENARIOS, asset
from twinloop.local.demo.stage import Elsewhere
from twinloop.local.keys.handout import hand_out, make
from twinloop.local.places import find_places
from twinloop.runtime.kafka.provision import provision

pytestmark = pytest.mark.timeout(600)

WELDS, RATE_HZ = 250, 10.0
NOMINAL_W = 1000.0
TRIES = 3
"""A busy machine makes readings old, and an asset with old readings is shed: a person leads it up again."""
HARDEST_S = 20.0


def keys(ground: Yard) -> Path:
    """Everybody's, readable for the user of the containers."""
    made, handed = ground.folder / "keys", ground.room("handed")
    make(made)
    hand_out(made, handed)
    for one in (handed, *handed.rglob("*")):
        one.chmod(0o755 if one.is_dir() else 0o644)
    return handed


def services(ground: Yard, handed: Path) -> dict[str, Running]:
    """All of them, as docker-compose.yml sets them."""
    config = {str(find_places().config): "/etc/twinloop:ro"}
    models, processes, parquet = (str(ground.room(one)) for one in ("models", "processes", "parquet"))

    def start(
        name: str, mine: str = "", volumes: dict[str, str] | None = None, **told: str
    ) -> Callable[[], Running]:
        of = {str(handed / mine): "/keys:ro"} if mine else {}
        mounted = {**config, **of, str(ground.room(f"data-{name}")): "/data", **(volumes or {})}
        return lambda: ground.launch(name, image(name), {**IN_YARD, **told}, volumes=mounted)

    people = {"TWINLOOP_ACCESS_PEOPLE": "/keys/people.toml"}
    found = [
        start(
            "historian",
            volumes={parquet: "/parquet"},
            TWINLOOP_HISTORIAN_FOLDER="/parquet",
            TWINLOOP_HISTORIAN_MAX_AGE_S="1",
        ),
        start("ingest", "ingest", TWINLOOP_INGEST_PSEUDONYM_KEY_FILE="/keys/ingest/pseudonym.key"),
        start(
            "modelops",
            "access",
            {models: "/models"},
            TWINLOOP_MODEL_REPOSITORY="/models",
            TWINLOOP_SERVING="/etc/twinloop/serving.toml",
            TWINLOOP_MODELOPS_AUDIT="/data",
            TWINLOOP_MODELOPS_BUDGET_S="2",
            **people,
        ),
        start("detector", TWINLOOP_DETECTOR_SCORE_EVERY="1"),
        start(
            "controller",
            "access",
            TWINLOOP_CONTROLLER_DATA="/data/tables",
            TWINLOOP_CONTROLLER_AUDIT="/data/audit",
            TWINLOOP_CONTROLLER_ASSETS="/etc/twinloop/controller.toml",
            **people,
        ),
        start(
            "twin",
            "twin",
            {processes: "/processes:ro"},
            TWINLOOP_TWIN_MODELS="/processes",
            TWINLOOP_TWIN_ASSETS="/etc/twinloop/twin.toml",
            TWINLOOP_TWIN_AUDIT="/data",
            TWINLOOP_TWIN_SIGNING_KEY="/keys/signing/twin.key.pem",
            **people,
        ),
        start(
            "simulator",
            "simulator",
            TWINLOOP_OPCUA="opc.tcp://0.0.0.0:4840/twinloop/",
            TWINLOOP_SIMULATOR_STATIONS="/etc/twinloop/simulator.toml",
            TWINLOOP_SIMULATOR_PRIMARY_HOST="twinloop",
            TWINLOOP_SIMULATOR_INGEST=f"http://ingest:{PORT}",
            TWINLOOP_SIMULATOR_OPCUA_CERTIFICATE="/keys/opcua/plc.cert.der",
            TWINLOOP_SIMULATOR_OPCUA_KEY="/keys/opcua/plc.key.pem",
            TWINLOOP_SIMULATOR_OPCUA_TRUSTED="/keys/opcua/trusted-by-plc",
        ),
        start(
            "line",
            "line",
            TWINLOOP_OPCUA="opc.tcp://simulator:4840/twinloop/",
            TWINLOOP_LINE_ASSETS="/etc/twinloop/line.toml",
            TWINLOOP_LINE_AUDIT="/data",
            TWINLOOP_LINE_OPCUA_CERTIFICATE="/keys/opcua/line.cert.der",
            TWINLOOP_LINE_OPCUA_KEY="/keys/opcua/line.key.pem",
            TWINLOOP_LINE_OPCUA_TRUSTED="/keys/opcua/trusted-by-line",
            TWINLOOP_LINE_APPROVERS="/keys/signing/trusted",
            **people,
        ),
    ]
    with ThreadPoolExecutor() as pool:
        return {one.name: one for one in pool.map(lambda one: one(), found)}


async def first_part(panel: Panel) -> int:
    """Of the campaign that has begun."""
    async with asyncio.timeout(30):
        while (first := (await panel.progress()).stations[CLOSED].first_sequence) is None:
            await asyncio.sleep(0.1)
    return first


async def all_of_it(bootstrap: str, first: int) -> tuple[list[Applied], list[float]]:
    """Once every part from `first` on is in the genealogy and scored: the changes that were applied since the
    cluster was made, and the power with which each part was made."""
    async with asyncio.timeout(90):
        while True:
            joints = {
                one.sequence: one.power_w
                for one in await events(bootstrap, "", GENEALOGY)
                if isinstance(one, JointWelded) and one.asset == asset(CLOSED) and one.sequence >= first
            }
            scores = [one for one in await events(bootstrap, "", SCORES) if one.asset == asset(CLOSED)]
            if len(joints) == WELDS == len({one.sequence for one in scores if one.sequence >= first}):
                break
            await asyncio.sleep(0.5)
    applied = [one for one in await events(bootstrap, "", CHANGES) if isinstance(one, Applied)]
    return applied, list(joints.values())


async def test_a_weld_changes_the_plc_and_everybody_drains(ground: Yard) -> None:
    (at_kafka, bootstrap), broker = kafka(ground), mqtt(ground)
    at_triton = triton(ground, ground.room("models"))
    healthy(at_kafka, broker, at_triton)
    await provision(bootstrap, "")
    running = services(ground, keys(ground))
    healthy(*running.values(), timeout_s=120)

    folder = ground.room("stage")
    (folder / "certs").mkdir()
    (folder / "certs/tokens").symlink_to(ground.folder / "keys/tokens")
    (folder / "processes").symlink_to(ground.room("processes"))
    urls = {f"TWINLOOP_{name.upper()}_URL": one.url for name, one in running.items()}
    parquet = {"TWINLOOP_HISTORIAN_FOLDER": str(ground.room("parquet"))}
    stage = Elsewhere.of(folder, {**urls, **parquet, "TWINLOOP_KAFKA": bootstrap})

    drift = {**SCENARIOS["window-drift"].campaign(), "welds": WELDS, "rate_hz": RATE_HZ, "stations": [CLOSED]}
    async with Panel(running["simulator"].url) as panel:
        await commission(stage, panel, lambda _: None)
        async with People(running["twin"].url, stage.state.certs / "tokens") as people:
            for _ in range(TRIES):
                await people.lead_up(asset(CLOSED), Mode.AUTO, "commissioned")
                await panel.start(drift)
                first = await first_part(panel)
                await panel.finished(120)
                applied, power_w = await all_of_it(bootstrap, first)
                if applied:
                    break
    assert applied
    assert max(power_w) > NOMINAL_W, "parts were made with what the PLC was told"

    # Last those that others still need in order to finish.
    for name in ("line", "controller", "twin", "detector", "modelops", "simulator", "ingest", "historian"):
        status, took_s = await asyncio.to_thread(running[name].stop)
        assert status == 0, f"{name}: {running[name].log()[-2000:]}"
        assert took_s < HARDEST_S
        assert json.loads(running[name].log().splitlines()[-1])["event"] == "stopped"


async def test_no_part_is_lost_while_ingest_is_killed_and_cut_off(ground: Yard) -> None:
    """The plant keeps what nobody hears, and sends it again: each joint is in the genealogy, as one event."""
    (at_kafka, bootstrap), broker = kafka(ground), mqtt(ground)
    healthy(at_kafka, broker)
    await provision(bootstrap, "")
    handed = keys(ground)
    config = {str(find_places().config): "/etc/twinloop:ro"}
    ingest = ground.launch(
        "ingest",
        image("ingest"),
        {**IN_YARD, "TWINLOOP_INGEST_PSEUDONYM_KEY_FILE": "/keys/ingest/pseudonym.key"},
        volumes={str(handed / "ingest"): "/keys:ro"},
    )
    simulator = ground.launch(
        "simulator",
        image("simulator"),
        {
            **IN_YARD,
            "TWINLOOP_OPCUA": "opc.tcp://0.0.0.0:4840/twinloop/",
            "TWINLOOP_SIMULATOR_STATIONS": "/etc/twinloop/simulator.toml",
            "TWINLOOP_SIMULATOR_PRIMARY_HOST": "twinloop",
            "TWINLOOP_SIMULATOR_OPCUA_SECURITY": "none",
        },
        volumes=config,
    )
    healthy(ingest, simulator)
    async with Panel(simulator.url) as panel:
        await panel.start({**SCENARIOS["healthy"].campaign(), "welds": 600, "rate_hz": 20.0})
        await asyncio.sleep(3)  # a fault in the middle: nothing is waited for
        ingest.kill()
        await asyncio.sleep(3)
        ingest.start()
        healthy(ingest)
        await asyncio.sleep(2)
        ground.cut_off(ingest)
        await asyncio.sleep(5)
        ground.rejoin(ingest)
        progress = await panel.finished(120)
    station = progress.stations[CLOSED]
    assert station.first_sequence is not None
    assert station.last_sequence is not None
    due = list(range(station.first_sequence, station.last_sequence + 1))

    async def heard() -> list[tuple[int, str]]:
        joints = [one for one in await events(bootstrap, "", GENEALOGY) if isinstance(one, JointWelded)]
        return [(one.sequence, one.event_id) for one in joints if one.asset == asset(CLOSED)]

    async with asyncio.timeout(90):
        while not set(due) <= {sequence for sequence, _ in await heard()}:
            await asyncio.sleep(0.5)
    # What may not have arrived is sent again, and is the same event: whoever folds it does so once.
    assert sorted(sequence for sequence, _ in set(await heard())) == due
