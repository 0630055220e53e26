"""What is installed is what was pinned: every package of every lock by version and hash."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from twinloop.local.places import find_places
from twinloop.local.weaknesses import NotTold, Weakness, found, locks, look

LOCKS = locks(find_places())


def requirements(lock: Path) -> list[str]:
    """Each with its options, in one line."""
    text = re.sub(r"\\\n", " ", lock.read_text())
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def test_there_is_a_lock_for_every_list() -> None:
    folder = find_places().requirements
    assert {one.stem for one in folder.glob("*.in")} == {one.stem for one in LOCKS}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda one: one.stem)
def test_every_package_is_pinned_by_version_and_hash(lock: Path) -> None:
    pinned = requirements(lock)
    assert pinned
    for one in pinned:
        assert re.match(r"^[A-Za-z0-9][\w.\-\[\],]*==[^\s;]+", one), one
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", one), one


def test_every_jar_is_pinned_by_hash() -> None:
    lines = find_places().jar_manifest.read_text().splitlines()
    assert lines
    assert all(re.fullmatch(r"[0-9a-f]{64}  \S+\.jar", one) for one in lines)


def test_weaknesses_are_told_with_what_mends_them() -> None:
    told = {
        "dependencies": [
            {"name": "good", "version": "1", "vulns": []},
            {
                "name": "bad",
                "version": "2",
                "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"], "aliases": []}],
            },
        ]
    }
    assert found(told) == [Weakness("bad", "2", "PYSEC-1", ("3",))]
    assert str(found(told)[0]) == "bad 2: PYSEC-1, mended in 3"


def test_what_was_passed_over_is_no_good_news() -> None:
    with pytest.raises(NotTold, match="odd"):
        found({"dependencies": [{"name": "odd", "skip_reason": "not on PyPI"}]})


def test_advisories_that_are_not_reached_are_no_good_news(tmp_path: Path) -> None:
    tool = tmp_path / "pip-audit"
    tool.write_text("#!/bin/sh\necho 'ConnectionError: away' >&2\nexit 1\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(NotTold, match="ConnectionError: away"):
        look(tool, LOCKS[0])
    with pytest.raises(NotTold, match="did not answer"):
        look(tmp_path / "nothing", LOCKS[0])
