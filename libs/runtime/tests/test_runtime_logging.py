"""What a process writes to stderr."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import structlog

from twinloop.runtime.observability.logging import Sparing

LINES = """
from twinloop.runtime.observability import logging
logging.configure("some", None, "INFO")
log = logging.logger("x")
log.debug("not of interest")
log.info("change", trace_id="7")
log.error("failed", exc_info=ValueError("boom"))
"""


def test_lines_are_json_where_nobody_watches_and_carry_service_level_and_trace() -> None:
    done = subprocess.run([sys.executable, "-c", LINES], capture_output=True, text=True, check=True)
    change, failed = map(json.loads, done.stderr.splitlines())
    assert (change["service"], change["level"], change["event"], change["trace_id"]) == (
        "some",
        "info",
        "change",
        "7",
    )
    assert "timestamp" in change
    assert "boom" in failed["exception"]


def test_a_flood_of_one_line_is_thinned_and_told() -> None:
    now = 100.0
    sparing = Sparing(3, lambda: now)

    def passes(event: str) -> dict[str, object] | None:
        try:
            return dict(sparing(None, "info", {"event": event}))
        except structlog.DropEvent:
            return None

    assert [passes("dead letter") is not None for _ in range(5)] == [True, True, True, False, False]
    assert passes("change") == {"event": "change"}
    now = 101.2
    assert passes("dead letter") == {"event": "dead letter", "left_out": 2}
    assert passes("dead letter") == {"event": "dead letter"}
    now = 103.0
    assert passes("dead letter") == {"event": "dead letter"}


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_every_level_of_the_settings_is_one(level: str) -> None:
    lines = LINES.replace("INFO", level)
    subprocess.run([sys.executable, "-c", lines], capture_output=True, check=True)
