"""What was changed in a store while its writer lives is noticed, and that it was mended, too."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from twinloop.audit import patrol
from twinloop.audit.chain import Act
from twinloop.audit.patrol import Patrol
from twinloop.audit.store import AuditStore

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AuditStore:
    monkeypatch.setattr(patrol, "_PIECE_BYTES", 700)  # a few entries
    with AuditStore.open(tmp_path / "line.jsonl", "line") as opened:
        for n in range(20):
            opened.append(Act(at=AT, asset="a", who="line", what="issued", reason=f"number {n}"))
        yield opened  # type: ignore[misc]


def _round(walk: Patrol, store: AuditStore) -> bool:
    """Whether anything was found in the next round and the one after it, which surely is a whole one."""
    found = False
    for _ in range(2 * (store.size // 200 + 2)):  # a line of each piece is read again
        walk.step(store)
        found |= walk.broken
    return found


def test_a_sound_store_is_sound_however_it_is_cut(store: AuditStore) -> None:
    walk = Patrol("line")
    assert not _round(walk, store)
    store.append(Act(at=AT, asset="a", who="line", what="issued", reason="and one more"))
    assert not _round(walk, store)


@pytest.mark.parametrize("entry", [0, 9, 19])
def test_a_change_in_place_is_noticed_until_it_is_undone(store: AuditStore, entry: int) -> None:
    before = store.path.read_bytes()
    at = before.index(f"number {entry}".encode())
    with store.path.open("r+b") as file:
        file.seek(at)
        file.write(b"N")
    walk = Patrol("line")
    assert _round(walk, store)
    with store.path.open("r+b") as file:
        file.seek(at)
        file.write(b"n")
    _round(walk, store)
    assert not _round(walk, store)


def test_an_entry_that_was_replaced_by_a_sound_one_does_not_fit_in(store: AuditStore, tmp_path: Path) -> None:
    lines = store.path.read_bytes().split(b"\n")
    with AuditStore.open(tmp_path / "other" / "line.jsonl", "line") as other:
        for n in range(20):
            other.append(Act(at=AT, asset="b", who="line", what="issued", reason=f"number {n}"))
        theirs = other.path.read_bytes().split(b"\n")
    lines[10] = theirs[10]
    with store.path.open("r+b") as file:
        file.write(b"\n".join(lines))
    assert _round(Patrol("line"), store)


def test_while_the_store_is_away_nothing_is_said(store: AuditStore) -> None:
    walk = Patrol("line")
    walk.step(None)
    assert not walk.broken
