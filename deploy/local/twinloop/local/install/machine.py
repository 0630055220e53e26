"""Can this machine run the parts? Each `no` is one sentence that says what to do."""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from twinloop.local.errors import CannotStart

GIB = 1024**3
MEMORY_NEEDED_BYTES = 3 * GIB
DISK_NEEDED_BYTES = 2 * GIB
GLIBC_NEEDED = (2, 35)
MACHINES = ("x86_64", "aarch64")


def check_platform(system: str, machine: str, libc: tuple[str, str]) -> None:
    """Linux, a processor and a C library for which the wheels of Triton exist."""
    if system != "Linux" or machine not in MACHINES:
        raise CannotStart(
            f"This is {system} on {machine}, and the parts run on Linux on {' or '.join(MACHINES)}: "
            "use such a machine (a virtual one will do)."
        )
    name, version = libc
    try:
        found = tuple(int(piece) for piece in version.split(".")[:2])
    except ValueError:
        found = ()
    if name != "glibc" or found < GLIBC_NEEDED:
        needed = ".".join(map(str, GLIBC_NEEDED))
        raise CannotStart(
            f"The C library here is {name or 'not glibc'} {version}, and Triton needs glibc {needed} or "
            "newer: "
            "use Debian 12, Ubuntu 22.04 or a newer Linux, or set TWINLOOP_TRITON to a server elsewhere."
        )


def check_memory(available_bytes: int) -> None:
    if available_bytes < MEMORY_NEEDED_BYTES:
        raise CannotStart(
            f"Only {available_bytes / GIB:.1f} GiB of memory is available and the parts need "
            f"{MEMORY_NEEDED_BYTES // GIB} GiB: close other programs or use a larger machine."
        )


def check_disk(folder: Path, free_bytes: int) -> None:
    if free_bytes < DISK_NEEDED_BYTES:
        raise CannotStart(
            f"Only {free_bytes / GIB:.1f} GiB of disk is free for {folder} and the parts need "
            f"{DISK_NEEDED_BYTES // GIB} GiB: free some, or set TWINLOOP_CACHE to a folder on a larger disk."
        )


def check_machine() -> None:
    """Platform and shared Python library: what no amount of installing changes."""
    check_platform(platform.system(), platform.machine(), platform.libc_ver())
    python_library_folder()


def available_memory_bytes(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Memory that can be used without swapping: the system's, or less where a container is limited."""
    meminfo = (proc / "meminfo").read_text()
    line = next(line for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
    available = int(line.split()[1]) * 1024
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):  # no cgroup v2 here, or no limit ("max")
        return available
    return min(available, max(0, limit - used))


def free_disk_bytes(folder: Path) -> int:
    """Free bytes where `folder` is, or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def python_library_folder() -> Path | None:
    """Folder of the shared library of this Python, which Triton's Python backend loads.

    None when the system's loader finds it without being told where.
    """
    soname = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
    for folder in _library_folders():
        if (folder / soname).exists():
            return folder
    if ctypes.util.find_library(f"python{sys.version_info[0]}.{sys.version_info[1]}"):
        return None
    raise CannotStart(
        f"The shared library {soname} of this Python was not found, and Triton's Python backend loads it: "
        f"install it (Debian and Ubuntu: apt-get install "
        f"libpython{sys.version_info[0]}.{sys.version_info[1]}), "
        "or use a Python that was built with --enable-shared."
    )


def _library_folders() -> Iterator[Path]:
    yield from (Path(folder) for folder in (sysconfig.get_config_var("LIBDIR"),) if folder)
    yield Path(sys.base_prefix) / "lib"
    multiarch = sysconfig.get_config_var("MULTIARCH")
    if multiarch:
        yield Path("/usr/lib") / multiarch
    yield from (Path(folder) for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder)
