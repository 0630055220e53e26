"""The default scenario, counted again by a reader that shares no code with the demo."""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaConsumer
from docs.metrics_page import documented
from rich.console import Console
from support.otlp import Receiver

from twinloop.local.demo.__main__ import run_scenario
from twinloop.local.demo.play import TOO_LATE
from twinloop.local.demo.scenarios import SCENARIOS
from twinloop.local.services import SERVICES
from twinloop.local.stack import Stack

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(420)]

LINE = "acme.berlin.packs.line1"


async def read_json(kafka: str, topic: str) -> list[dict[str, Any]]:
    """Every committed record of a topic, as plain JSON."""
    client = AIOKafkaConsumer(
        topic, bootstrap_servers=kafka, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    await client.start()
    try:
        ends = await client.end_offsets(client.assignment())
        assert ends, f"{topic} has no partitions"
        records = []
        while any([await client.position(one) < end for one, end in ends.items()]):
            for batch in (await client.getmany(timeout_ms=200)).values():
                records += [json.loads(one.value) for one in batch]
        return records
    finally:
        await client.stop()


async def test_the_loop_closes_and_its_numbers_are_those_of_the_topics(
    tmp_path: Path, receiver: Receiver
) -> None:
    printed = io.StringIO()
    services = [
        one.with_settings(TWINLOOP_LOG_LEVEL="DEBUG") if one.name == "ingest" else one for one in SERVICES
    ]
    scenario = SCENARIOS["window-drift"]
    env = {"TWINLOOP_LOG_FORMAT": "json", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    async with Stack(tmp_path / "state", services=services, env=env) as stack:
        console = Console(file=printed, width=220)
        report = await stack.guard(run_scenario(stack, scenario, console))
        text = printed.getvalue()
        assert "VERDICT: loop closed" in text, text
        kafka = stack.endpoints.kafka
        topics = {
            name: await read_json(kafka, name)
            for name in ("genealogy", "changes", "anomalies", "dead-letters", "models", "audit", "alarms")
        }
        # The model came through the one door, by a person, with its card.
        (route,) = topics["models"]
        assert (route["scope"], route["by"]) == ("weld.v1", "person:dana")
        promoted = [one for one in topics["audit"] if one["what"] == "promote model"]
        assert [(one["who"], one["asset"]) for one in promoted] == [("person:dana", "weld.v1")]
        card = stack.endpoints.model_repository / "weld" / "1" / "card.json"
        assert json.loads(card.read_text())["trained"]["windows"] == 400
        # What was played before, on a machine that was too busy, is left out.
        since = json.loads((tmp_path / "state/report.json").read_text())["since"]["weld1"]
        (begun,) = {
            datetime.fromisoformat(one["observed_at"])
            for one in topics["genealogy"]
            if (one["asset"], one.get("sequence")) == (f"{LINE}.weld1", since)
        }
        earlier = [one for one in topics["changes"] if datetime.fromisoformat(one["at"]) < begun]
        topics["changes"] = [one for one in topics["changes"] if one not in earlier]
        # Modes are in the same log: an engineer led the station up, and nothing took it down but a machine
        # that stood still for seconds, of which an alarm tells.
        led_up = [one["type"] for one in earlier if one["type"].startswith("mode_")]
        assert led_up[-4:] == ["mode_requested", "mode_entered"] * 2
        assert len(led_up) == 4 or "it is played again" in text
        taken_down = [one for one in topics["changes"] if one["type"].startswith("mode_")]
        if taken_down:
            assert {one["type"] for one in taken_down} == {"mode_shed"}
            assert TOO_LATE & {
                one["code"]
                for one in topics["alarms"]
                if one["asset"] == f"{LINE}.weld1" and datetime.fromisoformat(one["at"]) >= begun
            }
        topics["changes"] = [one for one in topics["changes"] if one not in taken_down]
        async with httpx.AsyncClient() as client:
            served = {
                name: (await client.get(f"{url}/metrics")).text
                for name, url in stack.endpoints.health.items()
            }

    # The campaign's parts are the last ones of each station, in the order of the part counter.
    for station, name in (("weld1", "loop closed"), ("weld2", "loop open")):
        made = {
            one["sequence"]: one["resistance_uohm"]
            for one in topics["genealogy"]
            if one["asset"] == f"{LINE}.{station}"
        }
        campaign = [made[sequence] for sequence in sorted(made)][-scenario.welds :]
        bad = sum(one > 55.0 for one in campaign)
        row = re.search(rf"{station} \({name}\)\s+(\d+)\s+(\d+)\s+(\d+)", text)
        assert row is not None, text
        assert (int(row[1]), int(row[3])) == (len(campaign), bad)
        if station == "weld1":
            closed_bad = bad
        else:
            opened_bad = bad
    assert opened_bad > 100
    assert closed_bad <= 0.05 * opened_bad
    assert f"{opened_bad - closed_bad} of {opened_bad} bad welds" in text

    steps = defaultdict(list)
    seen = set()
    for event in topics["changes"]:
        if event["event_id"] not in seen:
            seen.add(event["event_id"])
            steps[event["change_id"]].append(event["type"])
    assert {
        change.change_id: [str(step.state) for step in change.steps] for change in report.changes
    } == steps
    for change in steps:
        assert change[:8] in text
    complete = ["proposed", "simulated", "approved", "issued", "applied", "verified"]
    assert all(one == complete[: len(one)] for one in steps.values())
    assert sum(one == complete for one in steps.values()) >= len(steps) - 1
    for event in topics["changes"]:
        if event["type"] == "proposed":
            assert event["action"]["parameter"] == "laser_power_w"
            assert 850 <= event["action"]["value"] <= 1350
    assert len({one["event_id"] for one in topics["anomalies"]}) > 0
    assert topics["dead-letters"] == []
    # What was called applied is what the PLC made later parts with.
    powers = {
        one["sequence"]: one["power_w"] for one in topics["genealogy"] if one["asset"] == f"{LINE}.weld1"
    }
    for event in topics["changes"]:
        if event["type"] == "applied" and event["part_counter"] + 1 in powers:
            assert powers[event["part_counter"] + 1] == pytest.approx(event["actual"], abs=0.5)

    # One weld's journey is found in the logs of every service that it went through.
    for event in topics["changes"]:
        if event["type"] == "verified":
            told = {name: journey(tmp_path / "state", name, event["trace_id"]) for name in JOURNEY}
            assert told == JOURNEY

    # The same trace, as spans: each the child of what led to it, from the frame to the write to the PLC.
    for event in topics["changes"]:
        if event["type"] == "verified":
            assert PATH in _paths(receiver, event["trace_id"])
    # A round of windows is one request: a trace of its own, linked to the frames.
    rounds = [one for one in receiver.spans if one.name == "score"]
    frames = {(one.trace, one.span) for one in receiver.spans if one.name == "telemetry_frame"}
    assert rounds
    assert all(one.parent == "" and set(one.links) <= frames for one in rounds)

    # And every metric that a service serves is documented.
    for name, text in served.items():
        found = set(re.findall(r"^# TYPE (twinloop_\w+) ", text, re.MULTILINE))
        assert {one for one in found if not one.endswith("_created")} == documented(PAGE_OF[name])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        yield listening


PATH = [
    "ingest telemetry_frame",
    "detector anomaly",
    "controller proposed",
    "twin simulated",
    "twin approved",
    "line issued",
    "line plc_write",
]


def _paths(receiver: Receiver, trace: str) -> list[list[str]]:
    """From the root of a trace to each of its leaves: who did what."""
    spans = receiver.of(trace)
    parents = {one.parent for one in spans.values()}
    found = []
    for leaf in (one for one in spans.values() if one.span not in parents):
        path, at = [leaf], leaf
        while at.parent:
            assert at.parent in spans, f"{at.service} {at.name} is the child of a span that is not there"
            at = spans[at.parent]
            path.insert(0, at)
        assert all(one.began_ns <= one.ended_ns for one in path)
        found.append([f"{one.service} {one.name}" for one in path])
    return found


PAGE_OF = {one.name: one.module.removeprefix("twinloop.") or one.name for one in SERVICES}
"""Which service each process is."""
JOURNEY = {
    "ingest": ["frame"],
    "detector": ["anomaly"],
    "controller": ["change proposed", "change verified"],
    "twin": ["change simulated", "change approved"],
    "line": ["change issued", "change applied"],
}


def journey(state: Path, service: str, trace_id: str) -> list[str]:
    """What a service's log says of one trace, alarms apart."""
    lines = map(json.loads, (state / "logs" / f"{service}.log").read_text().splitlines())
    told = [one for one in lines if one.get("trace_id") == trace_id and one["event"] != "alarm"]
    return [f"{one['event']} {one.get('state', '')}".strip() for one in told]
