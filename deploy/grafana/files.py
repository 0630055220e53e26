"""The dashboards as files."""

from __future__ import annotations

import json
from pathlib import Path

from grafana.boards import ALL

FOLDER = Path(__file__).parents[2] / "helm" / "twinloop" / "files" / "dashboards"


def texts() -> dict[str, str]:
    """Their contents by the names of the files."""
    return {f"{name}.json": json.dumps(make(), indent=1) + "\n" for name, make in ALL.items()}


def write() -> None:
    """All of them, and no others."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for name, text in texts().items():
        (FOLDER / name).write_text(text)
