"""`twinloop audit verify`: whether stores are as they were written, and as their copies say."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from twinloop.audit.chain import Finding, Problem, compare
from twinloop.audit.store import verify_file, whole_lines
from twinloop.cli import show
from twinloop.cli.answer import out
from twinloop.cli.errors import Away, Unusable
from twinloop.cli.places import Places
from twinloop.contracts.audit import AuditEntry
from twinloop.contracts.codec import Undecodable, decode
from twinloop.contracts.topics import AUDIT
from twinloop.runtime.kafka.access import KafkaAccess
from twinloop.runtime.kafka.clients import consumer
from twinloop.runtime.observability import logging

_START_S: Final = 10.0
_READ_S: Final = 120.0
_TAMPERED: Final = 1


@dataclass(frozen=True, slots=True)
class Store:
    """What was found in one file."""

    file: str
    chain: str
    entries: int
    findings: list[Finding]


@dataclass(slots=True)
class Copies:
    """What the topic has: entries by chain, and how many records are none."""

    chains: dict[str, list[AuditEntry]] = field(default_factory=dict)
    unreadable: int = 0

    def take(self, record: ConsumerRecord) -> None:
        """One record of the topic."""
        try:
            entry: AuditEntry = decode(AUDIT, record.value or b"")
        except Undecodable:
            self.unreadable += 1
        else:
            self.chains.setdefault(entry.chain, []).append(entry)


def verify(options: Namespace, places: Places) -> int:
    """Every finding with its line. 0 when there is none, 1 when there is one."""
    files = _files(options.path)
    # Copies first: a file that is written meanwhile is then ahead of them, which it may be.
    copies = asyncio.run(_copies(*places.kafka())) if options.kafka else None
    stores = [_look(file, copies) for file in files]
    if copies is not None and options.path.is_dir():
        text = "there are copies of it in the topic, and no such file"
        for chain in sorted(set(copies.chains) - {one.chain for one in stores}):
            gone = Finding(1, Problem.REMOVED, text)
            stores.append(Store(str(options.path / f"{chain}.jsonl"), chain, 0, [gone]))
    unreadable = 0 if copies is None else copies.unreadable
    tampered = unreadable > 0 or any(one.findings for one in stores)

    def page() -> None:
        for store in stores:
            for finding in store.findings:
                show.sentence(f"{store.file}: {finding}")
            if not store.findings:
                also = "" if copies is None else ", as its copies say"
                show.sentence(f"{store.file}: intact, {store.entries} entries{also}")
        if unreadable:
            show.sentence(f"{unreadable} records of the topic are no entries: who writes to it?")

    answer = {
        "intact": not tampered,
        "unreadable_copies": unreadable,
        "stores": [asdict(one) for one in stores],
    }
    out(options, answer, page)
    return _TAMPERED if tampered else 0


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(path.glob("*.jsonl"))
        if not found:
            raise Unusable(f"There is no audit store in {path}: name a folder with *.jsonl files, or a file.")
        return found
    if not path.exists():
        raise Unusable(f"There is no {path}: name an audit store or the folder of several.")
    return [path]


def _chain(file: Path) -> str:
    return file.name.removesuffix(".jsonl")


def _look(file: Path, copies: Copies | None) -> Store:
    try:
        findings = verify_file(file)
        lines, _ = whole_lines(file)
    except OSError as error:
        raise Unusable(f"{file} cannot be read: {error.strerror}.") from error
    if copies is not None:
        findings += compare(lines, copies.chains.get(_chain(file), []))
    return Store(str(file), _chain(file), len(lines), sorted(findings, key=lambda one: one.line))


async def _copies(kafka: KafkaAccess, prefix: str) -> Copies:
    """All that the topic has now. Raises `Away`."""
    logging.configure("cli", None, "CRITICAL")  # one sentence says it all
    copies, giving_up = Copies(), asyncio.Event()
    late = asyncio.get_running_loop().call_later(_START_S, giving_up.set)
    try:
        async with consumer(kafka, [AUDIT], prefix, giving_up, group=None) as client:
            late.cancel()
            async with asyncio.timeout(_READ_S):
                ends = await client.end_offsets(client.assignment())
                while any([await client.position(one) < end for one, end in ends.items()]):
                    for records in (await client.getmany(timeout_ms=100)).values():
                        for record in records:
                            copies.take(record)
    except (KafkaError, TimeoutError) as error:
        raise Away(
            f"The copies cannot be read from Kafka at {kafka}: see whether it runs, and whether the address "
            "is right; or leave --kafka out."
        ) from error
    return copies
