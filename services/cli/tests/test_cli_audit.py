"""`twinloop audit verify`: its status is what a script needs, its sentences what a person does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from twinloop.audit.chain import Act
from twinloop.audit.store import AuditStore
from twinloop.cli.__main__ import main

AT = datetime(2025, 3, 1, 12, tzinfo=UTC)

Verify = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "audit"
    for chain in ("line", "twin"):
        with AuditStore.open(folder / f"{chain}.jsonl", chain) as store:
            store.append_all(
                [Act(at=AT, asset="weld1", who=chain, what="issued", new=f"{n} W") for n in range(5)]
            )
    return folder


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Verify:
    monkeypatch.delenv("TWINLOOP_KAFKA", raising=False)
    monkeypatch.setenv("TWINLOOP_STATE", str(tmp_path / "no stack"))

    def run(path: Path, *more: str) -> tuple[int, str, str]:
        status = main(["audit", "verify", str(path), *more])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_untouched_stores_are_intact(folder: Path, verify: Verify) -> None:
    status, out, _ = verify(folder)
    assert status == 0
    assert out.splitlines() == [f"{folder / name}.jsonl: intact, 5 entries" for name in ("line", "twin")]
    assert verify(folder / "line.jsonl")[0] == 0


def test_every_finding_is_named_with_its_line(folder: Path, verify: Verify) -> None:
    lines = (folder / "line.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "line.jsonl").write_bytes(lines[0] + lines[1].replace(b"1 W", b"9 W") + lines[2] + lines[4])
    status, out, _ = verify(folder)
    assert status == 1
    first, second, intact = out.splitlines()
    assert "line.jsonl: line 2: changed: its digest is not that of its content" in first
    assert "line.jsonl: line 4: removed: 1 of the numbers 4 to 4" in second
    assert intact.endswith("twin.jsonl: intact, 5 entries")


def test_scripts_are_told_the_same(folder: Path, verify: Verify) -> None:
    assert json.loads(verify(folder, "--json")[1])["intact"] is True
    (folder / "twin.jsonl").write_bytes((folder / "twin.jsonl").read_bytes()[:-5])
    status, out, _ = verify(folder, "--json")
    assert status == 1
    told = json.loads(out)
    assert told["intact"] is False
    line, twin = told["stores"]
    assert line["findings"] == []
    assert [(one["line"], one["problem"]) for one in twin["findings"]] == [(5, "cut")]


def test_a_store_under_another_name_is_another_ones(folder: Path, verify: Verify) -> None:
    (folder / "line.jsonl").write_bytes((folder / "twin.jsonl").read_bytes())
    status, out, _ = verify(folder / "line.jsonl")
    assert status == 1
    assert "belongs to chain 'twin', not to 'line'" in out


def test_what_is_no_store_is_a_problem_and_no_finding(tmp_path: Path, verify: Verify) -> None:
    for path, said in ((tmp_path, "There is no audit store in"), (tmp_path / "x.jsonl", "There is no")):
        status, out, err = verify(path)
        assert (status, out) == (2, "")
        assert said in err
    (tmp_path / "x.jsonl").mkdir()
    status, _, err = verify(tmp_path)
    assert status == 2
    assert "cannot be read: Is a directory" in err


def test_without_kafka_there_are_no_copies(folder: Path, verify: Verify) -> None:
    status, _, err = verify(folder, "--kafka")
    assert status == 2
    assert "It is not known where Kafka is: set TWINLOOP_KAFKA" in err
