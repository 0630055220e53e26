"""The images of this project, for tests that read how they are made, or run them."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

SERVICES = ("ingest", "detector", "modelops", "controller", "twin", "line", "historian", "simulator")
JOBS = ("trainer", "cli", "tools")
PARTS = ("mqtt", "triton-cpu", "kafka", "prometheus")
LOOP = (*SERVICES, "tools", "mqtt", "triton-cpu", "kafka")
"""What a whole loop with a simulated plant is made of."""


def version() -> str:
    """That of the project."""
    found = re.search(r'^version = "(.+)"', (ROOT / "libs/runtime/pyproject.toml").read_text(), re.M)
    assert found is not None
    return found[1]


def tag() -> str:
    """Of the images that are tested."""
    return os.environ.get("TAG") or version()


def image(name: str) -> str:
    """Its whole name."""
    return f"twinloop/{name}:{tag()}"
