"""docs/topics.md: every topic, who writes and who reads it, from where topics and rights are declared."""

from __future__ import annotations

from pathlib import Path

from twinloop.contracts.rights import MONITOR, PROGRAMS
from twinloop.contracts.topics import ALL, Topic

PAGE = Path(__file__).parents[2] / "docs" / "topics.md"


def page() -> str:
    """The text of the page."""
    lines = [
        "# Topics",
        "",
        "`make docs` writes this page from `libs/contracts` (`topics.py`, `rights.py`), of which topics",
        "and ACLs are made, too. A site's prefix goes before each name. Records of one key keep their order;",
        f"topics that one service joins have equally many partitions. `{MONITOR.name}` reads all of them.",
        "",
        "| topic | holds | key | format | partitions | kept | written by | read by |",
        "|---|---|---|---|---:|---|---|---|",
    ]
    lines += [_row(one) for one in ALL]
    return "\n".join(lines) + "\n"


def _row(topic: Topic) -> str:
    writers = ", ".join(one.name for one in PROGRAMS if topic in one.writes)
    readers = ", ".join(one.name for one in PROGRAMS if topic in one.reads and one is not MONITOR)
    form = topic.format.value.removeprefix("application/")
    return (
        f"| `{topic.name}` | {topic.meaning} | `{topic.key}` | {form} | {topic.partitions} | {_kept(topic)} |"
        f" {writers} | {readers} |"
    )


def _kept(topic: Topic) -> str:
    hours = topic.retention_h
    long = "for ever" if hours is None else f"{hours // 24} days" if hours > 24 else f"{hours} h"
    if not topic.compacted:
        return long
    return "the newest of each key" if hours is None else f"the newest of each key, {long}"
