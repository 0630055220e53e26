"""`SECURITY.md`: every kind of threat has a row, and every test that a row names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STRIDE = {
    "Spoofing",
    "Tampering",
    "Repudiation",
    "Information disclosure",
    "Denial of service",
    "Elevation of privilege",
}


def rows() -> list[list[str]]:
    lines = (ROOT / "SECURITY.md").read_text().splitlines()
    begin = lines.index("| STRIDE | threat | what stands against it | test |") + 2
    table = lines[begin : lines.index("", begin)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def named(cell: str) -> list[tuple[str, str]]:
    """Files and tests; `::test` is in the file that was named last."""
    found, file = [], ""
    for words in re.findall(r"`([^`]+)`", cell):
        path, _, test = words.partition("::")
        file = path or file
        found.append((file, test))
    return found


def test_every_kind_of_threat_has_a_row() -> None:
    assert {row[0] for row in rows()} == STRIDE


def test_every_row_names_tests_that_exist() -> None:
    for _, threat, against, cell in rows():
        tests = named(cell)
        assert against, threat
        assert tests, threat
        for file, test in tests:
            assert (ROOT / file).is_file(), file
            assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), (
                file,
                test,
            )
