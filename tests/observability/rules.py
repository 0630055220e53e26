"""The rules of Prometheus: where they are, what they say, and promtool, which judges them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm.chart import Manifest, kinds, merged, render, values_of

ROOT = Path(__file__).parents[2]
FILES = ROOT / "helm" / "twinloop" / "files" / "rules"
NAMESPACE = "plant"
"""Of the release whose rules are tested, and of the series that they are tested on."""
MISSING = (
    "promtool is not installed: run `python3.11 deploy/local/bootstrap.py prometheus`, or"
    " `apt-get install prometheus` on Debian."
)


@dataclass(frozen=True, slots=True)
class Alert:
    """One rule of an alert; an alert may have several, with different labels."""

    name: str
    expression: str
    labels: dict[str, str]
    annotations: dict[str, str]
    hold: str
    """How long the expression must hold (`for`); "" for not at all."""


def plain_rules() -> dict[str, str]:
    """The rule files by name, as Compose and the local stack give them to Prometheus: as they are."""
    return {one.name: one.read_text() for one in sorted(FILES.glob("*.yaml"))}


@cache
def rendered(release: str) -> list[Manifest]:
    """What the chart makes of a release with everything that watches it, in the namespace `NAMESPACE`."""
    watched = {"metrics": {one: {"enabled": True} for one in ("rules", "podMonitor")}}
    (made,) = render(
        {"values": merged(values_of("minimal"), watched), "name": release, "namespace": NAMESPACE}
    )
    return made


@cache
def rendered_rules() -> dict[str, str]:
    """The rules by file, as the chart renders them for a Prometheus operator, which hands on the groups."""
    return {
        f"{one['metadata']['name'].partition('-rules-')[2]}.yaml": yaml.safe_dump(one["spec"])
        for one in kinds(rendered("twinloop"), "PrometheusRule")
    }


def groups(files: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """All groups of all files."""
    texts = rendered_rules() if files is None else files
    return [group for text in texts.values() for group in yaml.safe_load(text)["groups"]]


def alerts() -> list[Alert]:
    """Every rule that alerts."""
    return [
        Alert(one["alert"], one["expr"], one["labels"], one["annotations"], str(one.get("for", "")))
        for group in groups()
        for one in group["rules"]
        if "alert" in one
    ]


def expressions(files: dict[str, str] | None = None) -> Iterator[tuple[str, str]]:
    """The expression of every rule, by the rule's name."""
    for group in groups(files):
        for one in group["rules"]:
            yield one.get("alert") or one["record"], one["expr"]


def kebab(name: str) -> str:
    """`TwinloopLagSeconds` as `twinloop-lag-seconds`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def promtool(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it; it must be there. Its status is the caller's to look at."""
    from twinloop.local.parts.prometheus import tool

    found = tool("promtool")
    assert found is not None, MISSING
    return subprocess.run(
        [str(found), *arguments], cwd=cwd, text=True, capture_output=True, timeout=120, check=False
    )


def _concerning(alert: str) -> dict[str, str]:
    """Of the rules as the chart renders them, those of an alert and whatever is recorded for them."""
    expression = dict[str, str]()
    for name, text in expressions():
        expression[name] = expression.get(name, "") + text
    wanted, found = {alert}, set[str]()
    while wanted:
        found |= wanted
        wanted = {one for one in expression if any(one in expression[name] for name in wanted)} - found
    files = {name: yaml.safe_load(text) for name, text in rendered_rules().items()}
    for group in (group for file in files.values() for group in file["groups"]):
        group["rules"] = [one for one in group["rules"] if (one.get("alert") or one["record"]) in found]
    return {name: yaml.safe_dump(file) for name, file in files.items()}


def judged(folder: Path, alert: str, tests: Sequence[dict[str, Any]], interval: str = "1m") -> str:
    """Play `tests` of an alert by `promtool test rules`; what it complains about, or ""."""
    files = _concerning(alert)
    for name, text in files.items():
        (folder / name).write_text(text)
    order = [one["name"] for one in groups(files)]
    order.sort(key=lambda name: name != "twinloop-indicators")  # the others read what these record
    what = {
        "rule_files": list(files),
        "evaluation_interval": interval,
        "group_eval_order": order,
        "tests": list(tests),
    }
    (folder / "tests.yaml").write_text(yaml.safe_dump(what, sort_keys=False))
    done = promtool("test", "rules", "tests.yaml", cwd=folder)
    return "" if done.returncode == 0 else done.stdout + done.stderr
