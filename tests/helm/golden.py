"""Golden renders: of the profile `minimal` in full, of each other one what differs from it."""

from __future__ import annotations

import difflib
from functools import cache
from pathlib import Path

import yaml
from yaml import CSafeDumper as Dumper

from helm.chart import PROFILES, Manifest, answers, identity, manifests

FOLDER = Path(__file__).parent / "golden"
BASE = "minimal"


def _short(one: Manifest) -> Manifest:
    """Rules and dashboards are files beside the templates; other tests compare those."""
    if one["kind"] == "PrometheusRule":
        return {**one, "spec": {"groups": len(one["spec"]["groups"])}}
    if "-dashboard-" in one["metadata"]["name"]:
        return {**one, "data": sorted(one["data"])}
    return one


def text(objects: list[Manifest]) -> str:
    """One form for equal objects."""
    parts = [
        f"# {'/'.join(identity(one))}\n{yaml.dump(_short(one), Dumper=Dumper, width=110)}" for one in objects
    ]
    return "---\n".join(parts)


@cache
def expected(profile: str) -> tuple[Path, str]:
    """File and content of a profile, as the chart renders now."""
    whole = text(manifests(profile))
    if profile == BASE:
        return FOLDER / f"{BASE}.yaml", whole
    lines = difflib.unified_diff(
        text(manifests(BASE)).splitlines(), whole.splitlines(), BASE, profile, n=1, lineterm=""
    )
    return FOLDER / f"{profile}.diff", "".join(f"{line}\n" for line in lines)


def notes(profile: str) -> str:
    """What Helm says after an install."""
    said: str = answers()[profile]["manifests"]["twinloop/templates/NOTES.txt"]
    return said


def write() -> None:
    """Bring the folder up to date."""
    FOLDER.mkdir(exist_ok=True)
    wanted = dict(expected(profile) for profile in PROFILES)
    for path in set(FOLDER.iterdir()) - wanted.keys():
        path.unlink()
    for path, content in wanted.items():
        path.write_text(content)
