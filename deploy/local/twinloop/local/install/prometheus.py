"""Prometheus and promtool: those on this machine, else unpacked from Debian's package, without root."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twinloop.local.errors import CannotStart
from twinloop.local.install.environments import Say, one_builder, run_logged
from twinloop.local.places import Places

_FETCH = 'cd "$0"; apt-get -q download prometheus || { apt-get -q update && apt-get -q download prometheus; }'
PROGRAMS = ("prometheus", "promtool")
MISSING = (
    "Prometheus is not installed and this is no Debian or Ubuntu with apt-get to fetch it from: put the"
    " programs prometheus and promtool on the path, and run the same command again."
)


def find(places: Places, program: str) -> Path | None:
    """Where `program` is: on the path, or where it was unpacked."""
    found = shutil.which(program)
    unpacked = places.prometheus / "usr" / "bin" / program
    if found is not None:
        return Path(found)
    return unpacked if (places.prometheus / "complete").exists() and unpacked.exists() else None


def ensure_prometheus(places: Places, say: Say) -> None:
    """Have both programs. The package is unpacked, not installed: no service is started by that."""
    with one_builder(places.prometheus.with_suffix(".lock"), say):
        if all(find(places, one) is not None for one in PROGRAMS):
            return
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise CannotStart(MISSING)
        say(f"unpacking Prometheus into {places.prometheus}")
        shutil.rmtree(places.prometheus, ignore_errors=True)
        places.prometheus.mkdir(parents=True)
        log = places.prometheus / "install.log"
        with tempfile.TemporaryDirectory(dir=places.prometheus) as aside:
            run_logged(["sh", "-c", _FETCH, aside], log, "Prometheus")
            (package,) = Path(aside).glob("*.deb")
            run_logged(["dpkg-deb", "-x", str(package), str(places.prometheus)], log, "Prometheus")
        (places.prometheus / "complete").touch()
