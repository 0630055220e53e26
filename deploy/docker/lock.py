"""Pin what each image installs: `python deploy/docker/lock.py`, a part of `make lock`. Needs uv.

The libraries of a program are those that its own package and the packages of ours behind it declare in their
`pyproject.toml`, with versions and hashes of `deploy/requirements/services.txt`. What all services need is in
`images/common.txt`, which becomes one layer that they share; `images/<image>.txt` holds what comes on top.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIREMENTS = REPOSITORY / "deploy" / "requirements"
LOCKS = REQUIREMENTS / "images"
COMMON = "common"

IMAGES: dict[str, tuple[str, ...]] = {
    COMMON: ("runtime",),
    "ingest": ("ingest",),
    "detector": ("detector",),
    "modelops": ("modelops",),
    "controller": ("controller",),
    "twin": ("twin",),
    "line": ("line",),
    "historian": ("historian",),
    "simulator": ("simulator",),
    "trainer": ("trainer",),
    "cli": ("cli",),
    "tools": ("local", "trainer", "cli"),
}
"""The packages of ours that each image runs."""
WITHOUT = {"tools": {"amqtt"}}
"""What a package declares and an image does not use: the tools start no broker."""
ALONE: dict[str, tuple[str, ...]] = {"mqtt": ("amqtt",)}
"""Images that run a part of others, and stand on nothing that is common."""

TRITON, TRITON_WHEEL = "triton-cpu", "nvidia-pytriton"
"""The server comes as a wheel; what that one declares is for the Python around it, which is not used."""

_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_EXTRAS = re.compile(r"\[([^]]*)\]")


def project(package: str) -> dict[str, object]:
    """The `[project]` table of one of our packages."""
    for folder in (f"libs/{package}", f"services/{package}", f"deploy/{package}"):
        file = REPOSITORY / folder / "pyproject.toml"
        if file.exists():
            table: dict[str, object] = tomllib.loads(file.read_text())["project"]
            return table
    raise SystemExit(f"No package of ours is called {package}: mend IMAGES in {__file__}.")


def packages(roots: Iterable[str]) -> list[str]:
    """Our packages behind `roots`, themselves included, each once, in a stable order."""
    found: dict[str, None] = {}
    _walk(roots, found, {})
    return sorted(found)


def declared(roots: Iterable[str]) -> list[str]:
    """What `roots` and our packages behind them need of others, as they wrote it."""
    others: dict[str, None] = {}
    _walk(roots, {}, others)
    return sorted(others)


def _walk(roots: Iterable[str], ours: dict[str, None], others: dict[str, None]) -> None:
    waiting = [f"twinloop-{root}" for root in roots]
    seen = set[str]()
    while waiting:
        wanted = waiting.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        name = name_of(wanted).removeprefix("twinloop-")
        ours[name] = None
        for one in _dependencies(project(name), wanted):
            if name_of(one).startswith("twinloop-"):
                waiting.append(one)
            else:
                others[one] = None


def _dependencies(table: dict[str, object], wanted: str) -> list[str]:
    own, optional = table.get("dependencies", []), table.get("optional-dependencies", {})
    assert isinstance(own, list)
    assert isinstance(optional, dict)
    extras = _EXTRAS.search(wanted)
    chosen = [name.strip() for name in extras[1].split(",")] if extras else []
    return [*own, *(one for extra in chosen for one in optional[extra])]


def name_of(requirement: str) -> str:
    """The distribution's normalized name in a line of requirements."""
    found = _NAME.match(requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def blocks(lock: str) -> Iterator[tuple[str, str]]:
    """Each requirement of a lock file: its name, and its lines with the hashes."""
    lines: list[str] = []
    for line in [*(one for one in lock.splitlines() if not one.lstrip().startswith("#")), "end"]:
        if lines and not line.startswith(" "):
            yield name_of(lines[0]), "\n".join(lines) + "\n"
            lines = []
        if line:
            lines.append(line)


def compiled(needed: Iterable[str], constraint: str = "services.txt") -> dict[str, str]:
    """Everything that has to be installed for `needed`, by name, pinned as in another lock file."""
    with tempfile.NamedTemporaryFile("w", suffix=".in") as file:
        file.write("".join(f"{one}\n" for one in needed))
        file.flush()
        command = ["uv", "pip", "compile", file.name, "--quiet", "--generate-hashes", "--universal"]
        command += ["--python-version", "3.11", "--no-header", "--no-annotate", "--no-emit-index-url"]
        command += ["--no-emit-find-links", "--constraint", str(REQUIREMENTS / constraint)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"uv cannot pin {', '.join(needed)}:\n{done.stderr}")
    return dict(blocks(done.stdout))


def locks() -> dict[str, str]:
    """The content of every lock file, by image."""
    common = compiled(declared(IMAGES[COMMON]))
    found = {COMMON: "".join(common.values())}
    for image, roots in IMAGES.items():
        if image != COMMON:
            unused = WITHOUT.get(image, set())
            whole = compiled([one for one in declared(roots) if name_of(one) not in unused])
            found[image] = "".join(text for name, text in whole.items() if name not in common)
    for image, needed in ALONE.items():
        found[image] = "".join(compiled(needed).values())
    server = dict(blocks((REQUIREMENTS / "triton.txt").read_text()))[TRITON_WHEEL]
    found[TRITON] = server + "".join(compiled(["numpy", "onnxruntime"], "triton.txt").values())
    return found


def main() -> int:
    LOCKS.mkdir(exist_ok=True)
    for image, text in locks().items():
        (LOCKS / f"{image}.txt").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
