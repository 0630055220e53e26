"""The pages of docs/runbooks: their commands, and what they say of Kubernetes."""

from __future__ import annotations

import re
from pathlib import Path

from howto.page import fences

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
KUBERNETES = "console kubernetes"


def pages() -> dict[str, str]:
    """The text of each page, by the name of its file; not that of the index."""
    return {one.stem: one.read_text() for one in sorted(FOLDER.glob("*.md")) if one.stem != "README"}


def commands(text: str) -> list[str]:
    """What is to be typed in a shell, block by block, also inside lists."""
    return fences(text, "bash")


def kubectl(text: str) -> list[str]:
    """What is to be typed where the chart runs, line by line."""
    return [
        line.removeprefix("$ ").strip() for block in fences(text, KUBERNETES) for line in block.splitlines()
    ]


KINDS = {"deploy": "Deployment", "statefulset": "StatefulSet"}


def objects(line: str) -> set[tuple[str, str]]:
    """Kind and name of the workloads that a line of kubectl names."""
    return {(KINDS[kind], name) for kind, name in re.findall(r"(?<=\s)(deploy|statefulset)/(\S+)", line)}


def components(line: str) -> set[str]:
    """The components by which a line of kubectl chooses pods."""
    return set(re.findall(r"app\.kubernetes\.io/component=([a-z-]+)", line))
