"""Where things are: the checkout, the cache folder and the environments in it.

Standard library only: `bootstrap.py` uses this before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[4]


@dataclass(frozen=True)
class Installed:
    """A folder that bootstrap fills once, and that counts only when its stamp is there."""

    folder: Path

    @property
    def stamp(self) -> Path:
        return self.folder / "complete"

    @property
    def venv(self) -> Path:
        return self.folder / "venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def complete(self) -> bool:
        # The interpreter may have been removed since: then its link dangles and the folder is of no use.
        return self.stamp.exists() and self.python.exists()


@dataclass(frozen=True)
class Places:
    """The checkout and the cache folder of this machine."""

    repository: Path
    cache: Path

    @property
    def requirements(self) -> Path:
        return self.repository / "deploy" / "requirements"

    @property
    def config(self) -> Path:
        """What is told of the reference plant; `TWINLOOP_CONFIG` names another folder."""
        configured = os.environ.get("TWINLOOP_CONFIG")
        return Path(configured) if configured else self.repository / "deploy" / "local" / "config"

    @property
    def rules(self) -> Path:
        """Those of Prometheus: the chart's files."""
        return self.repository / "helm" / "twinloop" / "files" / "rules"

    @property
    def prometheus(self) -> Path:
        """Where Prometheus is unpacked when it is not on the path."""
        return self.cache / "prometheus"

    @property
    def jar_manifest(self) -> Path:
        """SHA-256 of every Kafka jar, one a line, as `sha256sum` writes it."""
        return self.repository / "deploy" / "local" / "kafka-jars.sha256"

    @property
    def services_venv(self) -> Path:
        return self.repository / ".venv"

    @property
    def training_venv(self) -> Path:
        return self.repository / ".venv-train"

    @property
    def triton(self) -> Installed:
        return Installed(self.cache / f"triton-{self._key(self.requirements / 'triton.txt')}")

    @property
    def kafka(self) -> Installed:
        return Installed(
            self.cache / f"kafka-{self._key(self.requirements / 'kafka.txt', self.jar_manifest)}"
        )

    @property
    def bench(self) -> Installed:
        """What Twinloop is compared with."""
        return Installed(self.cache / f"bench-{self._key(self.requirements / 'bench.txt')}")

    @property
    def audit(self) -> Installed:
        """What knows the weaknesses of packages."""
        return Installed(self.cache / f"audit-{self._key(self.requirements / 'audit.txt')}")

    def _key(self, *locks: Path) -> str:
        return digest(*locks)[:16]


def digest(*locks: Path) -> str:
    """Hex digest of the lock files, the Python version and the machine: what an environment depends on."""
    sha = hashlib.sha256(f"{sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}\n".encode())
    for lock in locks:
        sha.update(lock.read_bytes())
    return sha.hexdigest()


def find_places(environ: Mapping[str, str] = os.environ) -> Places:
    """The places of this checkout; `TWINLOOP_CACHE` moves the cache folder."""
    configured = environ.get("TWINLOOP_CACHE")
    if configured:
        cache = Path(configured).expanduser()
    else:
        cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "twinloop"
    return Places(repository=REPOSITORY, cache=cache.resolve())
