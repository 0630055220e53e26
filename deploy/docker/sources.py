"""In a build stage: lay out our own packages for each image, `/apps/<image>/twinloop/<package>`, compiled.

In a checkout each package lies in a folder of its own; in an image those that the program needs are merged.
"""

from __future__ import annotations

import compileall
import py_compile
import shutil
import sys
from pathlib import Path

from lock import ALONE, COMMON, IMAGES, REPOSITORY, packages

PARTS = {"mqtt": ("local",)}
"""What images that run a part of others need of ours."""


def folder(package: str) -> Path:
    """Where a package's modules lie in the checkout."""
    for place in ("libs", "services", "deploy"):
        found = REPOSITORY / place / package / "twinloop" / package
        if found.is_dir():
            return found
    raise SystemExit(f"No package of ours is called {package}.")


def main(into: Path) -> int:
    ours = {image: packages(roots) for image, roots in IMAGES.items() if image != COMMON}
    for image, names in {**ours, **{image: list(PARTS[image]) for image in ALONE}}.items():
        for name in names:
            shutil.copytree(folder(name), into / image / "twinloop" / name)
        unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
        if not compileall.compile_dir(into / image, quiet=1, invalidation_mode=unchecked):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
