"""The tables of helm/twinloop/README.md, out of the comments of values.yaml and what is rendered.

`# @section Title` begins a table; `# --` before a key says what it is for, and may go on in the next lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import yaml

from helm.chart import Manifest, component, kinds, manifests, pods
from helm.renderer import CHART

VALUES = CHART / "values.yaml"
README = CHART / "README.md"
BEGIN = "<!-- The tables from here on are made of the chart by `make helm-refresh`. -->"
_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][\w.-]*):")


@dataclass
class Entry:
    """One value: its path, what it is for, and its default."""

    path: str
    meaning: str
    default: Any


@dataclass
class Section:
    """Values that belong together."""

    title: str
    entries: list[Entry] = field(default_factory=list)


class Undocumented(Exception):
    """Raised when a value has no comment.

    Operator action: write `# -- what it is for` above it in values.yaml.
    """


def sections(text: str) -> Iterator[Section]:
    """The tables. Raises `Undocumented`."""
    defaults = yaml.safe_load(text)
    path: list[str] = []
    meaning: list[str] = []
    told: set[str] = set()  # of what is told, the parts need no words of their own
    current: Section | None = None
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("# @section "):
            if current is not None:
                yield current
            current = Section(stripped.removeprefix("# @section "))
        elif stripped.startswith("# -- "):
            meaning = [stripped.removeprefix("# -- ")]
        elif stripped.startswith("#"):
            if meaning:
                meaning.append(stripped.removeprefix("#").strip())
        elif found := _KEY.match(line):
            depth = len(found["indent"]) // 2
            path = [*path[:depth], found["key"]]
            name = ".".join(path)
            if not any(name.startswith(f"{one}.") for one in told):
                value = _at(defaults, name)
                if meaning and current is not None:
                    told.add(name)
                    current.entries.append(Entry(name, " ".join(meaning), value))
                elif not (isinstance(value, dict) and value):
                    raise Undocumented(f"{name} has no comment: write `# -- what it is for` above it")
            meaning = []
    if current is not None:
        yield current


def _at(values: Any, path: str) -> Any:
    for step in path.split("."):
        values = values[step]
    return values


def _default(value: Any) -> str:
    shown = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return "" if value in ("", None, {}, []) else f"`{shown}`"


_MEBI = {"Mi": 1, "Gi": 1024}


def _millis(quantity: str) -> int:
    return int(quantity[:-1]) if quantity.endswith("m") else 1000 * int(quantity)


def _mebibytes(quantity: str) -> int:
    return int(quantity[:-2]) * _MEBI[quantity[-2:]]


def requests(objects: list[Manifest]) -> tuple[int, int]:
    """What all workloads ask for: thousandths of a core, MiB of memory."""
    cpu = memory = 0
    for one, _, spec in pods(kinds(objects, "Deployment", "StatefulSet")):
        asked, count = spec["containers"][0]["resources"]["requests"], one["spec"]["replicas"]
        cpu += count * _millis(asked["cpu"])
        memory += count * _mebibytes(asked["memory"])
    return cpu, memory


def claims(objects: list[Manifest]) -> list[Manifest]:
    """Those of the release, and those that each StatefulSet makes."""
    made = [one["spec"].get("volumeClaimTemplates", []) for one in kinds(objects, "StatefulSet")]
    return [*kinds(objects, "PersistentVolumeClaim"), *chain.from_iterable(made)]


def claimed(objects: list[Manifest]) -> int:
    """What all claims ask for: MiB of disk."""
    return sum(_mebibytes(one["spec"]["resources"]["requests"]["storage"]) for one in claims(objects))


def costs(profile: str = "minimal") -> list[str]:
    """What the pods of a profile ask for, and its claims."""
    lines = [
        "## What it costs",
        "",
        f"What the pods of [ci/{profile}.yaml](ci/{profile}.yaml) request, all by default, before any load.",
        "Detectors and Triton grow with the windows; memory is also the limit, CPU has none. What they took",
        "(`kubectl top pod`, on a node of two cores): 0.3 cores and 0.6 GiB when nothing was sent, 0.7",
        "cores and 0.9 GiB in the walk while `helm test` played. By load, and for yours:",
        "[capacity](../../docs/capacity.md).",
        "",
        "| workload | pods | CPU each | memory each | claims |",
        "|---|---:|---:|---:|---|",
    ]
    objects = manifests(profile)
    cpu, memory = requests(objects)
    for one, _, spec in pods(kinds(objects, "Deployment", "StatefulSet")):
        asked, count = spec["containers"][0]["resources"]["requests"], one["spec"]["replicas"]
        own = [claim["spec"] for claim in one["spec"].get("volumeClaimTemplates", [])]
        disk = ", ".join(claim["resources"]["requests"]["storage"] for claim in own)
        name = component(one["metadata"]["labels"])
        lines.append(f"| {name} | {count} | {asked['cpu']} | {asked['memory']} | {disk} |")
    shared = ", ".join(
        f"{one['metadata']['name'].rpartition('-')[2]} {one['spec']['resources']['requests']['storage']}"
        for one in kinds(objects, "PersistentVolumeClaim")
    )
    lines.append(
        f"| **all** | | **{cpu / 1000:.2f} cores** | **{memory / 1024:.1f} GiB** | shared: {shared} |"
    )
    return [*lines, ""]


def tables(text: str) -> str:
    """All of it. A value that several workloads have alike is said once, of `ingest`."""
    lines = [BEGIN, "", *costs(), "## Values", ""]
    common: dict[str, Entry] = {}
    for section in sections(text):
        lines += [f"### {section.title}", "", "| value | default | |", "|---|---|---|"]
        for entry in section.entries:
            workload, _, rest = entry.path.partition(".")
            if section.title == "Services":
                if workload == "ingest":
                    common[rest] = entry
                elif rest in common and common[rest].default == entry.default:
                    continue
            meaning = entry.meaning.replace("|", "\\|")
            lines.append(f"| `{entry.path}` | {_default(entry.default)} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def expected() -> str:
    """The page as it must be: what was written by hand, and the tables."""
    by_hand = README.read_text().partition(BEGIN)[0]
    return by_hand + tables(VALUES.read_text())


def write() -> None:
    """Bring the page up to date."""
    README.write_text(expected())
