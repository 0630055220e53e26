"""Python environments, complete or absent: built in place, stamped last, by one builder at a time."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from twinloop.local.errors import CannotStart
from twinloop.local.places import Installed, Places, digest

Say = Callable[[str], None]

_LINES_SHOWN = 12

_COMMAND = """\
#!/bin/sh
exec "$(dirname -- "$(readlink -f -- "$0")")/python" -m twinloop.cli "$@"
"""
"""`bin/twinloop`: found from wherever it is called, whatever the length of the path to Python."""


@contextmanager
def one_builder(lock: Path, say: Say) -> Iterator[None]:
    """Hold `lock` while building, so that two commands at once do not build the same environment."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another command is installing; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run_logged(command: list[str], log: Path, what: str, env: dict[str, str] | None = None) -> None:
    """Run a command with its output in `log`; `CannotStart` with the last lines when it fails."""
    with log.open("a") as output:
        done = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, check=False
        )
    if done.returncode:
        tail = "\n".join(
            f"  | {line}" for line in log.read_text(errors="replace").splitlines()[-_LINES_SHOWN:]
        )
        raise CannotStart(
            f"Could not install {what}: check that the package registries can be reached (a mirror is set by "
            f"PIP_INDEX_URL or UV_INDEX_URL) and run the same command again. The last lines of {log}:\n{tail}"
        )


def create_venv(venv: Path, log: Path) -> None:
    """An empty environment at `venv` for the Python that runs this, in place of whatever was there."""
    shutil.rmtree(venv, ignore_errors=True)
    uv = shutil.which("uv")
    if uv:
        command = [uv, "venv", "--quiet", "--python", sys.executable, str(venv)]
    elif _has_ensurepip():
        command = [sys.executable, "-m", "venv", str(venv)]
    else:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise CannotStart(
            f"This Python cannot create environments with pip in them: install its venv module (Debian and "
            f"Ubuntu: apt-get install python{version}-venv), or install uv."
        )
    run_logged(command, log, f"an environment in {venv}")


def install_requirements(venv: Path, requirements: Path, log: Path, what: str) -> None:
    """Install a compiled lock file; every package must have one of the hashes in it."""
    python = str(venv / "bin" / "python")
    uv = shutil.which("uv")
    if uv:
        command = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
    else:
        command = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    run_logged([*command, "--require-hashes", "-r", str(requirements)], log, what)


def ensure_cached(
    installed: Installed, requirements: Path, what: str, say: Say, finish: Callable[[Path], None]
) -> None:
    """Fill `installed` from a lock file, then `finish(log)`; nothing happens when it is complete."""
    if installed.complete:
        return
    with one_builder(installed.folder.with_suffix(".lock"), say):
        if Installed(installed.folder).complete:  # another builder may have filled it meanwhile
            return
        say(f"installing {what} into {installed.folder}")
        shutil.rmtree(installed.folder, ignore_errors=True)
        installed.folder.mkdir(parents=True)
        log = installed.folder / "install.log"
        create_venv(installed.venv, log)
        install_requirements(installed.venv, requirements, log, what)
        finish(log)
        stamp_last(installed.stamp, "")


def ensure_services(places: Places, *, dev: bool, say: Say) -> None:
    """The environment of the services in the checkout, with what lint and tests need when `dev`.

    Adding `dev` installs on top; a changed lock builds the environment again.
    """
    locks = {"services": "the services' environment"}
    if dev:
        locks["dev"] = "what lint and tests need"
    _ensure_in_checkout(places, places.services_venv, locks, say)


def ensure_training(places: Places, say: Say) -> None:
    """The environment in which models are trained, in the checkout: the only one with torch."""
    _ensure_in_checkout(places, places.training_venv, {"train": "what trains models"}, say)


def _ensure_in_checkout(places: Places, venv: Path, locks: dict[str, str], say: Say) -> None:
    """`venv` with the `locks`, by name, each installed on top of those before it; `locks` says what each
    brings."""
    stamp = venv / "twinloop-complete"
    wanted = [f"{name} {digest(places.requirements / f'{name}.txt')}" for name in locks]
    if _stamped(venv, stamp, wanted):
        link_sources(places, venv)
        return
    first = next(iter(locks))
    checkout = digest()[:8] + "-" + "".join(c if c.isalnum() else "-" for c in str(places.repository))
    with one_builder(places.cache / f"{first}{checkout[-80:]}.lock", say):
        log = places.cache / f"{first}-install.log"
        log.unlink(missing_ok=True)
        for count, (name, what) in enumerate(locks.items(), 1):
            if _stamped(venv, stamp, wanted[:count]):
                continue
            say(f"installing {what} into {venv}")
            if count == 1:
                create_venv(venv, log)
            else:
                stamp.unlink()
            install_requirements(venv, places.requirements / f"{name}.txt", log, what)
            stamp_last(stamp, "\n".join(wanted[:count]))
    link_sources(places, venv)


def link_sources(places: Places, venv: Path) -> None:
    """Make the checkout's own packages importable in `venv`, and `twinloop` a command.

    One `.pth` file with a source folder a line, and one script beside the environment's Python.
    """
    folders = sorted(
        folder
        for pattern in ("libs/*", "services/*", "deploy/local")
        for folder in places.repository.glob(pattern)
        if (folder / "twinloop").is_dir()
    )
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    link = venv / "lib" / version / "site-packages" / "twinloop-sources.pth"
    text = "".join(f"{folder}\n" for folder in folders)
    if not link.exists() or link.read_text() != text:
        stamp_last(link, text)
    command, text = venv / "bin" / "twinloop", _COMMAND
    if not command.exists() or command.read_text() != text:
        stamp_last(command, text, mode=0o755)


def stamp_last(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write a file whole or not at all."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.write_text(text)
    if mode is not None:
        aside.chmod(mode)
    aside.replace(path)


def _stamped(venv: Path, stamp: Path, wanted: list[str]) -> bool:
    if not stamp.exists() or not (venv / "bin" / "python").exists():
        return False
    return set(wanted) <= set(stamp.read_text().splitlines())


def _has_ensurepip() -> bool:
    return importlib.util.find_spec("ensurepip") is not None
