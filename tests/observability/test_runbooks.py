"""Every alert has a runbook, and every command of a runbook runs."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from helm.chart import component, pods

from observability.conftest import Scene
from observability.rules import ROOT, alerts, kebab, rendered
from observability.runbooks import commands, components, kubectl, objects, pages

LIMIT_S = 60
BESIDE = 3
"""Commands at a time: they only look."""
NOT_HANDED_ON = ("TWINLOOP_", "MAKE", "MFLAGS", "VIRTUAL_ENV", "PYTHON", "PYTEST_")


def test_alerts_and_runbooks_are_one_to_one() -> None:
    assert set(pages()) == {kebab(one.name) for one in alerts()}


def test_a_runbook_says_what_its_alert_says() -> None:
    for one in alerts():
        text = pages()[kebab(one.name)]
        assert text.startswith(f"# {one.name}\n\n**{one.labels['severity']}.**")
        for part in ("**Who notices:**", "## Look", "## Do", "## Call"):
            assert part in text


def test_links_lead_somewhere() -> None:
    import re

    for name, text in pages().items():
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (ROOT / "docs" / "runbooks" / link).resolve().exists(), (name, link)


def test_what_is_typed_on_kubernetes_is_about_what_the_chart_makes() -> None:
    """A release `twinloop` in the namespace `twinloop`, as the index says: its objects, pods and mounts."""
    made = rendered("twinloop")
    there = {(one["kind"], one["metadata"]["name"]) for one in made}
    by_name = {(one["kind"], one["metadata"]["name"]): spec for one, _, spec in pods(made)}
    chosen = {component(metadata["labels"]) for _, metadata, _ in pods(made)}
    listed = {"pods", "events", "hpa", "nodes", "podmonitors"}
    verbs = {"get", "logs", "describe", "rollout", "top", "exec"}
    for name, text in pages().items():
        lines = kubectl(text)
        assert lines, name
        for line in lines:
            words = shlex.split(line)
            assert words[:3] == ["kubectl", "-n", "twinloop"], line
            assert words[3] in verbs, line
            assert objects(line) <= there, f"{name}: {line}: the chart makes no such workload"
            assert components(line) <= chosen, f"{name}: {line}: the chart makes no such pods"
            if words[3] in ("logs", "exec"):
                assert objects(line), line
            elif words[3] in ("get", "describe", "top"):
                assert words[4] in listed, line
            for path in (one for one in words if one.startswith("/")):
                (which,) = objects(line)
                told = [one.get("value") for one in by_name[which]["containers"][0]["env"]]
                assert path in told, f"{line}: it keeps nothing there"


def _shell(scene: Scene) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_HANDED_ON)}
    if cache := os.environ.get("TWINLOOP_CACHE"):
        kept["TWINLOOP_CACHE"] = cache
    return {**kept, "TWINLOOP_STATE": str(scene.checkout / ".twinloop")}


@pytest.mark.timeout(600)
def test_every_command_runs(scene: Scene) -> None:
    """Each once, whichever page it is on; what is on a page in one block is one shell."""
    told: dict[str, str] = {}
    for name, text in pages().items():
        for block in commands(text):
            for line in block.strip().splitlines():
                told.setdefault(line.strip(), name)
    assert len(told) > 30

    def run(line: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", line],
            cwd=scene.checkout,
            env=dict(_shell(scene)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return f"{told[line]}: {line}\n{done.stdout}{done.stderr}" if done.returncode else ""

    with ThreadPoolExecutor(BESIDE) as pool:
        failed = [one for one in pool.map(run, told) if one]
    assert not failed, "\n".join(failed)
