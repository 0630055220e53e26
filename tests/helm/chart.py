"""The chart as tests see it: profiles of values, and what they render to. Each process renders once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from yaml import CSafeLoader as Loader

from helm.renderer import CHART

TESTS = Path(__file__).resolve().parents[1]
PROFILES = {path.stem: path for path in sorted((CHART / "ci").glob("*.yaml"))}

Manifest = dict[str, Any]


class Refused(Exception):
    """Raised when Helm does not render; the text is what it said."""


def values_of(profile: str) -> dict[str, Any]:
    """The values of a profile."""
    loaded: dict[str, Any] = yaml.safe_load(PROFILES[profile].read_text())
    return loaded


def merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `values`, as Helm does with a second file."""
    made = deepcopy(dict(values))
    for key, value in over.items():
        there = made.get(key)
        made[key] = merged(there, value) if isinstance(there, dict) and isinstance(value, Mapping) else value
    return made


def ask(requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the renderer answers to each request."""
    done = subprocess.run(
        [sys.executable, "-m", "helm.renderer"],
        input=json.dumps(list(requests)),
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def read(answer: Mapping[str, Any]) -> list[Manifest]:
    """The objects of an answer, in a fixed order. Raises `Refused`."""
    if "refused" in answer:
        raise Refused(answer["refused"])
    found = [
        one
        for template, text in sorted(answer["manifests"].items())
        if template.endswith(".yaml")
        for one in yaml.load_all(text, Loader)
        if one
    ]
    return sorted(found, key=identity)


def render(*requests: Mapping[str, Any]) -> list[list[Manifest]]:
    """The objects of each request. Raises `Refused`."""
    return [read(one) for one in ask(requests)]


def identity(one: Manifest) -> tuple[str, str]:
    """What an object is known by in its namespace."""
    return one["kind"], one["metadata"]["name"]


@cache
def answers() -> dict[str, dict[str, Any]]:
    """What the renderer says to each profile."""
    return dict(zip(PROFILES, ask([{"values": values_of(name)} for name in PROFILES]), strict=True))


@cache
def manifests(profile: str) -> list[Manifest]:
    """The objects of a profile. Change none of them: they are made once."""
    return read(answers()[profile])


def pods(objects: Sequence[Manifest]) -> Iterator[tuple[Manifest, Manifest, Manifest]]:
    """(object, metadata, spec) of everything that becomes a pod."""
    for one in objects:
        if one["kind"] == "Pod":
            yield one, one["metadata"], one["spec"]
        elif one["kind"] in ("Deployment", "StatefulSet", "Job"):
            template = one["spec"]["template"]
            yield one, template["metadata"], template["spec"]


def component(labels: Mapping[str, str]) -> str:
    """Which part of the release labels belong to."""
    return labels.get("app.kubernetes.io/component", "")


def containers(spec: Manifest) -> list[Manifest]:
    """All of a pod."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def kinds(objects: Sequence[Manifest], *wanted: str) -> list[Manifest]:
    """The objects of these kinds."""
    return [one for one in objects if one["kind"] in wanted]
