"""What the trainer's commands make, served by a real Triton through modelops, as the demo does it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.serving import modelops
from support.topics import events
from support.waiting import until

from twinloop.contracts.codec import frame_message
from twinloop.contracts.frames import Frame
from twinloop.contracts.times import utc
from twinloop.contracts.topics import AUDIT, MODELS, TELEMETRY_FACTORY, Format
from twinloop.historian.parquet import ParquetFolder
from twinloop.ingest import signal_sets
from twinloop.ingest.csv_source import asset_of, csv_files, frames
from twinloop.ingest.normalize import Normalized
from twinloop.local.demo.models import into_service
from twinloop.local.stack import Stack
from twinloop.runtime.kafka.provision import provision
from twinloop.simulator.process import Conditions, Setpoints, draw_noise, weld
from twinloop.trainer import skab
from twinloop.trainer.errors import BadRecording, TooFewWindows
from twinloop.trainer.recipes import RECIPES, SKAB, WELD
from twinloop.trainer.scoreboard import score, total
from twinloop.trainer.verdicts import judged
from twinloop.trainer.windows import Recording, recorded
from twinloop.tritonio.artefact import read
from twinloop.tritonio.client import triton as triton_client
from twinloop.tritonio.repository import contracts

ASSET = "acme.berlin.packs.line1.weld1"


@dataclass(frozen=True)
class Kept:
    """A Kafka record as the historian sees it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


def welds(seed: int, count: int, conditions: Conditions | None = None) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    where = conditions or Conditions()
    return [weld(Setpoints(), where, draw_noise(generator)).signals for _ in range(count)]


def record(folder: Path, topic: str, made: Sequence[np.ndarray], asset: str = ASSET) -> None:
    """Keep welds as the historian would."""
    records = []
    for number, samples in enumerate(made):
        frame = Frame(
            asset=asset,
            signal_set="weld.v1",
            sequence=number,
            first_at_ns=number * 10**9,
            period_ns=10**6,
            samples=samples,
            observed_at_ns=number * 10**9,
            event_id=f"{asset}-{number}",
            trace_id="0" * 32,
            part_id=f"p{number}",
        )
        value = frame_message(TELEMETRY_FACTORY, frame, source="test").value
        records.append(Kept(number, 1_790_000_000_000 + number, asset.encode(), value))
    ParquetFolder(folder).write(topic, 3, Format.PROTOBUF, records)


async def trainer(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run a command; its status, and what it said on stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "twinloop.trainer", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def environment(kafka: str, topic_prefix: str) -> dict[str, str]:
    """What it takes to read verdicts; nothing else needs any of it."""
    return {
        "TWINLOOP_KAFKA": kafka,
        "TWINLOOP_TOPIC_PREFIX": topic_prefix,
        "TWINLOOP_MODEL_PREFIX": "",  # models are everybody's at the Triton that tests share
    }


async def test_a_model_of_healthy_welds_is_fitted_staged_and_serves(
    stack: Stack, certs: Path, topic_prefix: str, tmp_path: Path
) -> None:
    where = stack.endpoints
    await provision(where.kafka, topic_prefix)
    topic = TELEMETRY_FACTORY.named(topic_prefix)
    record(tmp_path / "one", topic, welds(1, 400))
    record(tmp_path / "other", topic, welds(2, 400))
    name = f"weld-{topic_prefix.strip('.')}"

    async def fit(recording: str, out: str) -> Path:
        status, said, errors = await trainer(
            {},
            *("fit", "--parquet", str(tmp_path / recording), "--topic", topic, "--signal-set", "weld.v1"),
            *("--asset", ASSET, "--min-windows", "400", "--model", name, "--out", str(tmp_path / out)),
        )
        assert (status, errors) == (0, "")
        assert f"written to {tmp_path / out}" in said
        return tmp_path / out

    first = await fit("one", "first")
    card = read(first).card
    assert (card.trained.assets, card.trained.windows) == ((ASSET,), 400)
    assert (card.trained.since, card.trained.until) == (utc(0), utc(399 * 10**9 + 299 * 10**6))

    async with (
        triton_client(where.triton, deadline_s=60) as client,
        modelops(stack, certs, topic_prefix, tmp_path) as people,
    ):
        await into_service(people, first, "healthy welds")
        (route,) = await events(where.kafka, topic_prefix, MODELS)
        assert (route.scope, route.by, route.contract.version) == ("weld.v1", "person:dana", 1)
        assert contracts(where.model_repository, name) == (route.contract,)
        # Healthy and faulty parts that it has never seen, through the real server.
        fresh = await client.infer(route.contract, np.stack(welds(7, 2000)))
        assert (fresh.score > route.contract.threshold).sum() <= 2
        for fault in (
            Conditions(window_transmission=0.9),
            Conditions(defocus_mm=0.8),
            Conditions(gap_um=140.0),
        ):
            faulty = await client.infer(route.contract, np.stack(welds(8, 50, fault)))
            assert (faulty.score > route.contract.threshold).all()
        # The same recording gives the same model, which needs no second version; another one gives the next.
        told = await into_service(people, await fit("one", "again"), "the same")
        assert told.startswith(f"{name}:1 ")
        told = await into_service(people, await fit("other", "second"), "newer welds")
        assert told.startswith(f"{name}:2 ")
        assert await client.versions(name) == (1, 2)
        routes = await events(where.kafka, topic_prefix, MODELS)
        assert [one.contract.version for one in routes] == [1, 2]

        async def audited() -> bool:
            found = await events(where.kafka, topic_prefix, AUDIT)
            return [one.what for one in found if one.asset == "weld.v1"] == ["promote model"] * 2

        await until(audited)
    async with triton_client(where.triton) as client:
        await client.unload(name)


async def test_what_cannot_be_done_is_one_sentence(
    environment: dict[str, str], topic_prefix: str, tmp_path: Path
) -> None:
    record(tmp_path, TELEMETRY_FACTORY.name, welds(1, 3))
    command = (
        *("fit", "--parquet", str(tmp_path), "--signal-set", "weld.v1", "--asset", ASSET),
        *("--model", "never", "--out", str(tmp_path / "made"), "--wait-s", "0.5"),
    )
    status, said, errors = await trainer({}, *command, "--min-windows", "400")
    assert (status, said) == (1, "")
    assert errors == "Trainer: the recording holds 3 windows of the asset after 0.5 s, not 400\n"
    assert (await trainer({}, *command, "--min-windows", "0"))[0] == 2
    status, _, errors = await trainer(
        {}, "fit-skab", "--data", str(tmp_path), "--out", str(tmp_path / "made")
    )
    assert (status, "holds no CSV file" in errors) == (1, True)
    assert not (tmp_path / "made").exists()
    folder = recordings(tmp_path / "files")
    nowhere = {**environment, "TWINLOOP_KAFKA": "nowhere"}
    status, _, errors = await trainer(nowhere, "score-skab", "--data", str(folder))
    assert (status, "TWINLOOP_KAFKA" in errors) == (2, True)
    nobody = {**environment, "TWINLOOP_KAFKA": "127.0.0.1:1"}
    status, _, errors = await trainer(nobody, "score-skab", "--data", str(folder), "--wait-s", "2")
    assert (status, "Trainer: Kafka at 127.0.0.1:1 refused: " in errors) == (1, True), errors


def recordings(folder: Path) -> Path:
    """Two files of the benchmark where TWINLOOP_DATA names its folder, else two made in its form."""
    folder.mkdir()
    data = os.environ.get("TWINLOOP_DATA")
    for name in ("1", "9"):
        to = folder / f"{name}.csv"
        if data:
            to.write_bytes((Path(data) / "skab" / "valve1" / f"{name}.csv").read_bytes())
        else:
            to.write_text(made(int(name)))
    return folder


def made(seed: int) -> str:
    """A file in the form of the benchmark's: a fault in two signals from row 570 to 969."""
    draw = np.random.default_rng(seed)
    values = 10 * np.arange(1, 9) + draw.standard_normal((1140, 8))
    anomalous = np.zeros(1140)
    anomalous[570:970] = 1
    values[570:970, 2:4] += (6, -6)
    lines = [";".join(["datetime", *SKAB.spec.signals, "anomaly", "changepoint"])]
    for row, (samples, label) in enumerate(zip(values.tolist(), anomalous.tolist(), strict=True)):
        at = f"2020-03-09 10:{row // 60:02}:{row % 60:02}"
        lines.append(";".join([at, *map(str, samples), str(label), "0.0"]))
    return "\n".join(lines) + "\n"


@pytest.fixture
async def detector(
    environment: dict[str, str], triton: str, tmp_path: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    with (tmp_path / "detector.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "twinloop.detector"),
            env={
                **os.environ,
                **environment,
                "TWINLOOP_TRITON": triton,
                "TWINLOOP_DETECTOR_SCORE_EVERY": "1",
            },
            stderr=log,
        )
    yield process
    process.terminate()
    await asyncio.wait_for(process.wait(), 20)


async def replay(environment: dict[str, str], *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "twinloop.ingest.replay", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await asyncio.wait_for(process.wait(), 60) == 0


async def test_recorded_files_are_scored_on_what_the_detector_said_of_them(
    stack: Stack,
    certs: Path,
    environment: dict[str, str],
    topic_prefix: str,
    detector: asyncio.subprocess.Process,
    tmp_path: Path,
) -> None:
    """The verdicts in Kafka are those of the fit; sent from row 100 on, the same rows get the same ones."""
    where = stack.endpoints
    folder = recordings(tmp_path / topic_prefix.strip("."))
    files = await asyncio.to_thread(skab.read_folder, folder)
    await provision(where.kafka, topic_prefix)
    early = await trainer(environment, "score-skab", "--data", str(folder), "--wait-s", "30")
    assert (early[0], "have no verdict" in early[2]) == (1, True), early
    made = tmp_path / "made"
    status, said, errors = await trainer({}, "fit-skab", "--data", str(folder), "--out", str(made))
    assert (status, errors) == (0, "")
    assert said.startswith("2 models")
    models = sorted(one.name for one in made.iterdir())
    # The same models for the same files under other names, which begin with row 100.
    late = {one.asset: one.asset.replace("skab.", "late.", 1) for one in files}
    async with modelops(stack, certs, topic_prefix, tmp_path) as people:
        for one in models:
            (asset,) = read(made / one).card.trained.assets
            for scope in (asset, late[asset]):
                await into_service(people, made / one, "its first rows", scope)
    served = {one.scope for one in await events(where.kafka, topic_prefix, MODELS)}
    assert served == {*late, *late.values()}
    await known(tmp_path / "detector.log", 4)

    await replay(environment, "--folder", str(folder))
    await replay(environment, "--folder", str(folder), "--first-row", "100", "--asset-prefix", "late")
    status, board, errors = await trainer(environment, "score-skab", "--data", str(folder))
    assert status == 0, errors
    assert f"all {sum(len(one.values) for one in files)} rows of 2 files accounted for" in board
    assert detector.returncode is None

    said_of = await judged(where.kafka, topic_prefix, [*late, *late.values()])
    scores = []
    for one in files:
        expected = skab.verdicts(skab.fit(one.values), one.values)
        assert sorted(said_of[one.asset].anomalous) == np.flatnonzero(expected).tolist()
        after = {row for row in said_of[one.asset].anomalous if row >= 109}
        assert said_of[late[one.asset]].anomalous == after
        assert said_of[late[one.asset]].rows == set(range(109, len(one.values)))
        scores.append(score(one.anomalous[400:], expected[400:]))
    assert f"{total(scores).f1:.3f}" in board
    assert total(scores).f1 > 0.75
    async with triton_client(where.triton) as client:
        for name in models:
            await client.unload(name)


async def known(log: Path, count: int) -> None:
    """Wait until the detector follows `count` routes."""
    async with asyncio.timeout(30), httpx.AsyncClient() as client:
        while True:
            ports = re.findall(r"port=(\d+)|\"port\": (\d+)", log.read_text())
            if ports:
                port = next(filter(None, ports[-1]))
                text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
                if f"twinloop_detector_routes {count}.0" in text:
                    return
            await asyncio.sleep(0.05)


def test_what_is_learnt_from_is_what_is_sent(tmp_path: Path) -> None:
    """Trainer and ingest agree on signals and their order, on assets and on values."""
    catalogue = signal_sets.load(None)
    for recipe in RECIPES.values():
        assert catalogue.find(recipe.signal_set).columns == recipe.spec.signals
    signal_set = catalogue.find(SKAB.signal_set)
    assert signal_set.csv is not None
    for path in csv_files(recordings(tmp_path / "valve 1")):
        one = skab.read(path)
        assert one.asset == asset_of(path, "skab")
        rows = frames(path, signal_set, signal_set.csv, one.asset)
        sent = [row.frame for row in rows if isinstance(row, Normalized)]
        assert [frame.sequence for frame in sent] == list(range(len(one.values)))
        assert np.array_equal(np.concatenate([frame.samples for frame in sent]), one.values)


def test_a_recording_is_cut_as_the_detector_cuts(tmp_path: Path) -> None:
    """Repeats, other assets and unusable frames are left out; files that are being written are not there."""
    made_welds = welds(1, 6)
    made_welds[3][5, 2] = np.nan
    record(tmp_path, "t", [made_welds[0], *made_welds])  # the second is told from the first by its sequence
    record(tmp_path, "u", made_welds, asset="another")
    (tmp_path / "t" / "3" / ".half.parquet.writing").write_bytes(b"PAR1")
    recording = Recording(tmp_path / "t", WELD, ASSET)
    windows = recording.windows().values
    kept = [made_welds[n] for n in (0, 0, 1, 2, 4, 5)]
    assert np.array_equal(windows, np.stack(kept))
    assert len(Recording(tmp_path / "u", WELD, ASSET).windows()) == 0
    assert len(Recording(tmp_path / "missing", WELD, ASSET).windows()) == 0
    (tmp_path / "t" / "4").mkdir()
    (tmp_path / "t" / "4" / "spoilt.parquet").write_bytes(b"no parquet")
    with pytest.raises(BadRecording, match=r"spoilt\.parquet cannot be read"):
        recording.windows()


async def test_windows_that_are_recorded_meanwhile_are_waited_for(tmp_path: Path) -> None:
    record(tmp_path, "t", welds(1, 3))
    waiting = asyncio.create_task(recorded(Recording(tmp_path / "t", WELD, ASSET), 5, 30))
    with pytest.raises(TooFewWindows, match="holds 3 windows"):
        await recorded(Recording(tmp_path / "t", WELD, ASSET), 5, 0.3)
    assert not waiting.done()
    record(tmp_path, "t", welds(1, 6))
    assert len(await waiting) == 6
