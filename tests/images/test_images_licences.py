"""Who hands images on must have looked at the licences of what is in them."""

from __future__ import annotations

import runpy
from typing import Any

from support.images import ROOT

SBOM: dict[str, Any] = runpy.run_path(str(ROOT / "deploy/docker/sbom.py"))


def doubtful(name: str, licence: str, kind: str = "pypi") -> bool:
    return bool(SBOM["doubtful"]([SBOM["Piece"](kind, name, "1.0", licence)]))


def test_a_licence_that_nobody_has_looked_at_is_asked_about() -> None:
    lesser = "GNU Lesser General Public License v3 or later (LGPLv3+)"
    assert not doubtful("httpx", "BSD-3-Clause")
    assert not doubtful("asyncua", lesser)
    assert doubtful("another", lesser)
    assert doubtful("asyncua", "Proprietary")
    assert not doubtful("libc6", lesser, kind="deb")
