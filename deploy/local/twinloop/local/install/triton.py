"""NVIDIA Triton from its wheel, laid out as the server expects it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from twinloop.local.errors import CannotStart
from twinloop.local.install.environments import Say, ensure_cached
from twinloop.local.places import Installed, Places


def ensure_triton(places: Places, say: Say) -> None:
    installed = places.triton
    ensure_cached(
        installed,
        places.requirements / "triton.txt",
        "Triton",
        say,
        finish=lambda _log: lay_out_backends(installed),
    )


def lay_out_backends(installed: Installed) -> None:
    """Put the Python backend and its stub for this Python side by side, where Triton looks for them.

    The wheel keeps one stub per Python version in folders of their own and chooses at run time.
    """
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    server = server_folder(installed)
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise CannotStart(
            f"The wheel of Triton has no Python backend for Python {version}: run this with Python 3.11."
        )
    backend = installed.folder / "backends" / "python"
    shutil.copytree(server / "backends" / "python", backend)
    shutil.copy2(stub, backend / stub.name)


def server_folder(installed: Installed) -> Path:
    return site_packages(installed) / "pytriton" / "tritonserver"


def site_packages(installed: Installed) -> Path:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return installed.venv / "lib" / version / "site-packages"
