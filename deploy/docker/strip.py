"""In a build stage: take symbols out of the shared libraries below a folder, `strip.py FOLDER`.

Libraries that went through a tool for wheels may have tables where `strip` does not expect them, and cannot
be loaded afterwards: such a one is left as it was.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

_LOAD = 1


def loadable(elf: bytes) -> bool:
    """Whether each segment of a 64-bit library lies in the file as it must in memory, page by page."""
    if elf[:5] != b"\x7fELF\x02":
        return False
    (offset,) = struct.unpack_from("<Q", elf, 32)
    size, count = struct.unpack_from("<HH", elf, 54)
    for n in range(count):
        kind, _, at, address, _, _, _, align = struct.unpack_from("<IIQQQQQQ", elf, offset + n * size)
        if kind == _LOAD and align > 1 and at % align != address % align:
            return False
    return True


def strip(library: Path) -> None:
    """Make it smaller, or leave it alone."""
    aside = library.with_name(f"{library.name}.stripped")
    done = subprocess.run(
        ["strip", "--strip-unneeded", "-o", aside, library], capture_output=True, check=False
    )
    if done.returncode == 0 and loadable(aside.read_bytes()):
        shutil.copymode(library, aside)
        aside.replace(library)
    aside.unlink(missing_ok=True)


if __name__ == "__main__":
    for found in Path(sys.argv[1]).rglob("*.so*"):
        if found.is_file() and not found.is_symlink():
            strip(found)
