"""`make audit`: every package that is pinned, against the advisories of PyPI (pip-audit).

Exit status: 0 when none has a known weakness; 1 when one has, each with the version that mends it; 2 when it
cannot be told, because the advisories were not reached: that is no good news.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinloop.local.places import Places, find_places

_TIMEOUT_S = 600
_LINES = 3


class NotTold(Exception):
    """Raised when the advisories cannot be asked.

    Operator action: run it where PyPI is reached directly; a mirror of packages alone has no advisories.
    """


@dataclass(frozen=True, slots=True, order=True)
class Weakness:
    """A pinned package with a known weakness; `mended` are versions without it."""

    package: str
    version: str
    advisory: str
    mended: tuple[str, ...]

    def __str__(self) -> str:
        where = f"mended in {', '.join(self.mended)}" if self.mended else "not mended yet"
        return f"{self.package} {self.version}: {self.advisory}, {where}"


def look(tool: Path, lock: Path) -> list[Weakness]:
    """Ask about what `lock` pins; nothing is resolved or installed for it. Raises `NotTold`."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        words = ["--requirement", str(lock), "--require-hashes", "--disable-pip", "--progress-spinner", "off"]
        try:
            done = subprocess.run(
                [str(tool), *words, "--format", "json", "--output", str(answer)],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NotTold(f"{tool.name} did not answer: {error}") from error
        try:
            told = json.loads(answer.read_text())
        except (OSError, ValueError) as error:
            last = " / ".join(done.stderr.strip().splitlines()[-_LINES:])
            raise NotTold(last or f"{tool.name} ended with status {done.returncode}") from error
    return found(told)


def found(told: dict[str, Any]) -> list[Weakness]:
    """What the tool's answer says. Raises `NotTold` for a package that it passed over."""
    passed = [one for one in told["dependencies"] if "skip_reason" in one]
    if passed:
        others = f" and {len(passed) - 1} others" if len(passed) > 1 else ""
        raise NotTold(f"nothing is known of {passed[0]['name']}{others}: {passed[0]['skip_reason']}")
    return sorted(
        Weakness(one["name"], one["version"], each["id"], tuple(each["fix_versions"]))
        for one in told["dependencies"]
        for each in one["vulns"]
    )


def locks(places: Places) -> Sequence[Path]:
    """Every file of pinned packages."""
    return sorted(places.requirements.glob("*.txt"))


def main() -> int:
    places, weak = find_places(), set[Weakness]()
    tool = places.audit.venv / "bin" / "pip-audit"
    for lock in locks(places):
        try:
            weak.update(look(tool, lock))
        except NotTold as problem:
            print(
                f"Whether {lock.name} pins anything with a known weakness cannot be told: the advisories were"
                f" not reached ({problem}). Run `make audit` where PyPI itself is reached.",
                file=sys.stderr,
            )
            return 2
        print(f"{lock.name}: looked at")
    for one in sorted(weak):
        print(one)
    print(f"{len(weak)} known weaknesses" if weak else "nothing that is pinned has a known weakness")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main())
