"""The rules with shorter times, so that a test need not wait for hours.

Each duration in an expression, and each `for`, is replaced by the one that the table says. Every threshold
stays, but for the one that is itself a time.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from observability.rules import plain_rules

WINDOWS = {
    "5m": "10s",
    "10m": "15s",
    "15m": "20s",
    "30m": "20s",
    "1h": "30s",
    "2h": "25s",
    "6h": "40s",
    "3d": "60s",
}
HOLDS = {"1m": "2s", "2m": "3s", "5m": "5s", "10m": "6s", "15m": "6s", "1h": "6s"}
AGES = {"> 180": "> 6"}
"""Of `TwinloopExactlyOnceUnmeasured`."""


def shortened(expression: str) -> str:
    """An expression with the times of the table. Raises `KeyError` for a time that it does not have."""
    for age, short in AGES.items():
        expression = expression.replace(age, short)
    expression = re.sub(r"\[(\d+[smhd])\]", lambda found: f"[{WINDOWS[found[1]]}]", expression)
    return re.sub(r"offset (\d+[smhd])", lambda found: f"offset {WINDOWS[found[1]]}", expression)


def write_shortened(folder: Path) -> None:
    """All rule files, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in plain_rules().items():
        rules: dict[str, Any] = yaml.safe_load(text)
        for group in rules["groups"]:
            for one in group["rules"]:
                one["expr"] = shortened(one["expr"])
                if "for" in one:
                    one["for"] = HOLDS[one["for"]]
        (folder / name).write_text(yaml.safe_dump(rules, sort_keys=False))
