"""The log in an event loop: shared writes, trouble that is told, and copies that come in the end."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError
from prometheus_client import CollectorRegistry

from twinloop.audit.chain import compare, entry_of
from twinloop.audit.errors import AuditAway
from twinloop.audit.kept import kept_of
from twinloop.audit.log import AuditLog, audit_log
from twinloop.audit.metrics import AuditMetrics
from twinloop.audit.store import AuditStore, verify_file, whole_lines
from twinloop.contracts.audit import AuditEntry
from twinloop.contracts.codec import Message, decode
from twinloop.contracts.topics import AUDIT
from twinloop.runtime.clock import ManualClock
from twinloop.runtime.kafka.clients import MemoryPublisher

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)
CLOCK = ManualClock(AT)


async def until(holds: Callable[[], object], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 20
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.01)


async def say(audit: AuditLog, what: str) -> AuditEntry:
    return await audit.append(asset="weld1", who="line", what=what, reason="because")


def copies(out: MemoryPublisher) -> list[AuditEntry]:
    return [decode(AUDIT, one.value) for one in out.messages]


def entries(folder: Path) -> list[AuditEntry]:
    return [entry_of(line) for line in whole_lines(folder / "line.jsonl")[0]]


class Unsteady(MemoryPublisher):
    """Fails every time until it is told that Kafka is there."""

    def __init__(self) -> None:
        super().__init__()
        self.there = False
        self.tries = 0

    async def publish(self, messages: Iterable[Message]) -> None:
        self.tries += 1
        if not self.there:
            raise KafkaConnectionError("nobody answers")
        await super().publish(messages)


async def test_who_waits_together_is_written_together(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    async with audit_log(tmp_path, "line", CLOCK, metrics=AuditMetrics(registry, "line")) as audit:
        assert audit.problem() is None
        written = await asyncio.gather(*(say(audit, f"did {number}") for number in range(200)))
    assert [one.number for one in written] == list(range(1, 201))
    assert [one.what for one in written] == [f"did {number}" for number in range(200)]
    assert all(one.at == AT for one in written)
    assert verify_file(tmp_path / "line.jsonl") == []
    assert registry.get_sample_value("twinloop_line_audit_entries_total") == 200
    writes = registry.get_sample_value("twinloop_line_audit_seconds_count")
    assert writes is not None
    assert writes < 20


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping waits for the last copies for as long as a test does."""
    monkeypatch.setattr("twinloop.audit.log._LAST_S", 40.0)


@pytest.mark.usefixtures("patient")
async def test_copies_go_on_where_an_earlier_process_stopped(tmp_path: Path) -> None:
    first, second = MemoryPublisher(), MemoryPublisher()
    async with audit_log(tmp_path, "line", CLOCK) as audit:
        await say(audit, "before")
        async with audit.published(first):
            await asyncio.gather(*(say(audit, f"did {number}") for number in range(20)))
        await say(audit, "between")
    assert [one.what for one in copies(first)] == ["before", *(f"did {number}" for number in range(20))]
    kept = kept_of(tmp_path / "line.jsonl")
    assert kept is not None
    assert kept.number == 21
    async with audit_log(tmp_path, "line", CLOCK) as audit, audit.published(second):
        await say(audit, "after")
        await until(lambda: len(second.messages) == 2, "the rest was not published")
    assert [one.what for one in copies(second)] == ["between", "after"]
    assert all(one.key == b"line" for one in second.messages)
    lines, _ = whole_lines(tmp_path / "line.jsonl")
    assert compare(lines, copies(first) + copies(second)) == []
    assert len(lines) == 23


@pytest.mark.usefixtures("patient")
async def test_without_its_position_everything_is_copied_again(tmp_path: Path) -> None:
    first, second = MemoryPublisher(), MemoryPublisher()
    async with audit_log(tmp_path, "line", CLOCK) as audit, audit.published(first):
        await say(audit, "once")
    (tmp_path / "line.jsonl.kept").unlink()
    async with audit_log(tmp_path, "line", CLOCK) as audit, audit.published(second):
        await until(lambda: second.messages, "nothing was published")
    assert copies(second) == copies(first)


async def test_entries_are_written_while_kafka_is_away_and_copied_when_it_is_back(tmp_path: Path) -> None:
    out = Unsteady()
    async with audit_log(tmp_path, "line", CLOCK) as audit, audit.published(out):
        await say(audit, "one")
        await until(lambda: out.tries >= 1, "it was not tried")
        await say(audit, "two")
        assert audit.problem() is None
        assert out.messages == []
        out.there = True
        await until(lambda: len(out.messages) == 2, "the copies did not come")
    assert [one.what for one in copies(out)] == ["one", "two"]


async def test_stopping_does_not_wait_for_kafka(tmp_path: Path) -> None:
    async with audit_log(tmp_path, "line", CLOCK) as audit:
        async with audit.published(Unsteady()):
            await say(audit, "one")
    out = MemoryPublisher()
    async with audit_log(tmp_path, "line", CLOCK) as audit, audit.published(out):
        await until(lambda: out.messages, "the entry was forgotten")


async def test_a_store_that_goes_away_is_told_and_continued_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinloop.audit.log._LOOK_S", 3600.0)  # it is found out by writing
    folder, aside = tmp_path / "audit", tmp_path / "aside"
    async with audit_log(folder, "line", CLOCK) as audit:
        await say(audit, "before")
        folder.rename(aside)
        tried = await asyncio.gather(say(audit, "lost"), say(audit, "lost"), return_exceptions=True)
        assert all(isinstance(one, AuditAway) for one in tried)
        assert "is away" in str(audit.problem())
        with pytest.raises(AuditAway, match="cannot be opened"):
            await say(audit, "lost")
        assert not folder.exists(), "no new store is begun in place of a lost one"
        aside.rename(folder)
        await say(audit, "after")
        assert audit.problem() is None
    assert [one.what for one in entries(folder)] == ["before", "resumed", "after"]
    assert "cannot be opened" in entries(folder)[1].reason
    assert verify_file(folder / "line.jsonl") == []


async def test_a_store_is_looked_at_while_nobody_writes(tmp_path: Path) -> None:
    folder, aside = tmp_path / "audit", tmp_path / "aside"
    async with audit_log(folder, "line", CLOCK) as audit:
        folder.rename(aside)
        await until(lambda: audit.problem() is not None, "the loss was not noticed")
        aside.rename(folder)
        await until(lambda: audit.problem() is None, "the store was not opened again")


async def test_another_store_in_its_place_is_not_continued(tmp_path: Path) -> None:
    async with audit_log(tmp_path, "line", CLOCK) as audit:
        await say(audit, "before")
        (tmp_path / "line.jsonl").rename(tmp_path / "aside")
        with AuditStore.open(tmp_path / "line.jsonl", "line", clock=CLOCK):
            pass
        for _ in range(2):
            with pytest.raises(AuditAway, match=r"replaced|does not have the entry number 1"):
                await say(audit, "lost")


async def test_a_store_that_cannot_be_opened_is_opened_later(tmp_path: Path) -> None:
    with AuditStore.open(tmp_path / "line.jsonl", "line", clock=CLOCK):
        async with audit_log(tmp_path, "line", CLOCK) as audit:
            assert "another process" in str(audit.problem())
            with pytest.raises(AuditAway):
                await say(audit, "too early")
    async with audit_log(tmp_path, "line", CLOCK) as audit:
        assert (await say(audit, "now")).number == 1


async def test_a_caller_who_gives_up_holds_nobody_up(tmp_path: Path) -> None:
    async with audit_log(tmp_path, "line", CLOCK) as audit:
        impatient = asyncio.create_task(say(audit, "impatient"))
        patient = asyncio.create_task(say(audit, "patient"))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).what == "patient"
    shutil.copy(tmp_path / "line.jsonl", tmp_path / "copy")
    assert verify_file(tmp_path / "copy", "line") == []


async def test_a_chain_has_a_name_that_a_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no name of a chain"):
        async with audit_log(tmp_path, "../line", CLOCK):
            pass
