"""Audit stores and their copies on a real broker: a cut tail and a chain made anew are found."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from aiokafka import AIOKafkaProducer
from support.topics import events
from support.waiting import until

from twinloop.audit.kept import kept_of
from twinloop.audit.log import audit_log
from twinloop.contracts.topics import AUDIT
from twinloop.runtime.clock import SystemClock
from twinloop.runtime.kafka.clients import publisher
from twinloop.runtime.kafka.provision import provision


async def verify(folder: Path, kafka: str, prefix: str) -> tuple[int, str]:
    """The program's status, and what it says."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "twinloop.cli", "audit", "verify", str(folder), "--kafka"],
        env={**os.environ, "TWINLOOP_KAFKA": kafka, "TWINLOOP_TOPIC_PREFIX": prefix},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


async def write(folder: Path, chain: str, kafka: str, prefix: str, reasons: list[str]) -> None:
    """Entries of a service that starts, acts and stops; all are on the topic then."""
    async with (
        publisher(kafka, prefix, asyncio.Event()) as out,
        audit_log(folder, chain, SystemClock()) as audit,
        audit.published(out),
    ):
        written = [
            await audit.append(asset="weld1", who=chain, what="issued", reason=reason) for reason in reasons
        ]

        def copied() -> bool:
            kept = kept_of(folder / f"{chain}.jsonl")
            return kept is not None and kept.number == written[-1].number

        await until(copied)


async def test_what_a_chain_cannot_show_its_copies_do(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    await provision(kafka, topic_prefix, topics=[AUDIT])
    folder = tmp_path / "audit"
    line, twin = folder / "line.jsonl", folder / "twin.jsonl"
    await write(folder, "line", kafka, topic_prefix, ["one", "two"])
    await write(folder, "line", kafka, topic_prefix, ["three", "four"])
    await write(folder, "twin", kafka, topic_prefix, ["one"])
    copies = await events(kafka, topic_prefix, AUDIT)
    assert [one.reason for one in copies if one.chain == "line"] == ["one", "two", "three", "four"]
    status, said = await verify(folder, kafka, topic_prefix)
    assert status == 0, said
    assert "line.jsonl: intact, 4 entries, as its copies say" in said

    whole = line.read_bytes()
    line.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    status, said = await verify(folder, kafka, topic_prefix)
    assert status == 1
    assert "line.jsonl: line 3: cut: there are copies up to number 4" in said
    line.write_bytes(whole)

    twin.rename(tmp_path / "aside")
    status, said = await verify(folder, kafka, topic_prefix)
    assert status == 1
    assert "twin.jsonl: line 1: removed" in said
    (folder / "twin.jsonl.kept").unlink()
    await write(folder, "twin", kafka, topic_prefix, ["another"])
    status, said = await verify(folder, kafka, topic_prefix)
    assert status == 1
    assert "twin.jsonl: line 1: changed: copies tell of another entry" in said
    (tmp_path / "aside").rename(twin)
    status, said = await verify(twin, kafka, topic_prefix)
    assert status == 1, "somebody wrote the other chain"


async def test_records_that_are_no_entries_are_told(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    await provision(kafka, topic_prefix, topics=[AUDIT])
    await write(tmp_path, "line", kafka, topic_prefix, ["one"])
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    await producer.send_and_wait(AUDIT.named(topic_prefix), b"noise")
    await producer.stop()
    status, said = await verify(tmp_path, kafka, topic_prefix)
    assert status == 1
    assert "1 records of the topic are no entries" in said


async def test_kafka_away_is_a_problem_and_no_finding(tmp_path: Path) -> None:
    async with audit_log(tmp_path, "line", SystemClock()) as audit:
        await audit.append(asset="weld1", who="line", what="issued")
    status, said = await verify(tmp_path, "127.0.0.1:1", "")
    assert status == 2
    assert said.count("\n") == 1, said
    assert "cannot be read from Kafka at 127.0.0.1:1" in said
