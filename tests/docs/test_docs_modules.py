"""The README of each library and service says where a behaviour lives: its modules, and none that is not."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = ("libs", "services", "deploy")
PACKAGES = sorted(one.parent for place in PLACES for one in (ROOT / place).glob("*/pyproject.toml"))
ALIKE = {"__init__", "__main__", "app", "settings", "errors", "metrics"}
"""What they are called says what they are, in every service."""
GENERATED = {"telemetry_pb2", "sparkplug_pb2"}
APART = {
    "libs/runtime": {"stream"},
    "services/controller": {"field"},
    "services/cli": {"capacity"},
    "services/trainer": {"detectors"},
    "deploy/local": {"install", "parts"},
}
"""Folders whose own docstring lists what is in them, or that are named as a whole."""


def modules(package: Path) -> set[str]:
    """The modules that must be named, without those of folders that stand apart."""
    apart = APART.get(str(package.relative_to(ROOT)), set())
    return {
        one.stem
        for one in (package / "twinloop" / package.name).rglob("*.py")
        if not apart & set(one.relative_to(package).parts[:-1])
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda one: one.name)
def test_every_module_is_named_and_every_name_is_a_module(package: Path) -> None:
    text = (package / "README.md").read_text()
    named = {Path(one).stem for one in re.findall(r"`([\w/]+\.py)`", text)}
    there = modules(package)
    assert there - named <= ALIKE | GENERATED, there - named - ALIKE - GENERATED
    everywhere = {one.stem for place in (*PLACES, "docs") for one in (ROOT / place).rglob("*.py")}
    assert named <= everywhere, named - everywhere


def test_what_says_that_it_is_pure_is_held_to_it() -> None:
    """By import-linter, in `make lint`."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (held,) = [set(one["source_modules"]) for one in contracts if one["name"].startswith("What decides")]
    for package in PACKAGES:
        for one in (package / "twinloop" / package.name).rglob("*.py"):
            said = ast.get_docstring(ast.parse(one.read_text())) or ""
            if re.search(r"\bPure\b", said) and one.stem != "__init__":
                name = ".".join(one.relative_to(package).with_suffix("").parts)
                above = {name.rsplit(".", n)[0] for n in range(1, name.count("."))}
                assert {name, *above} & held, name
