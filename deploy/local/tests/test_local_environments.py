"""The checkout's packages and its command, linked into an environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twinloop.local.install.environments import link_sources
from twinloop.local.places import Places


def test_packages_are_importable_and_twinloop_is_a_command(tmp_path: Path) -> None:
    places = Places(tmp_path, tmp_path / "cache")
    for folder in ("libs/one/twinloop", "services/cli/twinloop/cli", "services/no-package"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "services/cli/twinloop/cli/__init__.py").write_text("")
    said = "import sys\nsys.stdout.write(' '.join(sys.argv[1:]))\n"
    (tmp_path / "services/cli/twinloop/cli/__main__.py").write_text(said)
    venv = places.services_venv
    packages = venv / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    packages.mkdir(parents=True)
    (venv / "bin").mkdir()
    # Stands in for the Python of a whole environment, which would read the .pth file.
    python = venv / "bin" / "python"
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH="$(tail -n 1 {packages}/twinloop-sources.pth)" exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    for _ in range(2):
        link_sources(places, venv)
        (link,) = packages.iterdir()
        assert link.read_text().splitlines() == [str(tmp_path / "libs/one"), str(tmp_path / "services/cli")]
        assert os.access(venv / "bin" / "twinloop", os.X_OK)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(venv / "bin" / "twinloop")
    for command in (venv / "bin" / "twinloop", elsewhere):
        done = subprocess.run(
            [command, "changes", "two words"], capture_output=True, text=True, cwd="/", check=True
        )
        assert done.stdout == "changes two words"
