"""Install what Twinloop needs on this machine, with Python alone: `python3.11 deploy/local/bootstrap.py`.

    bootstrap.py [services] [dev] [triton] [kafka] [prometheus] [bench] [train] [audit]
                                                                (default: services triton kafka)
    bootstrap.py accept-jars                                   (write kafka-jars.sha256 for a new version)

The services' environment is `.venv` in the checkout, and that of training, with torch, `.venv-train`. Triton,
Kafka and Java go to the cache folder (TWINLOOP_CACHE, else ~/.cache/twinloop), in folders named by the digest
of their lock file, so that a changed lock makes a new folder and an unchanged one is never downloaded twice.
Does nothing when all is there.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twinloop.local.places import Places

WHAT = ("services", "dev", "triton", "kafka", "prometheus", "bench", "train", "audit", "accept-jars")


def main(arguments: "list[str]") -> int:
    if sys.version_info[:2] != (3, 11):
        version = ".".join(map(str, sys.version_info[:3]))
        return refuse(
            f"This is Python {version} and Twinloop needs 3.11: install it and run the same command again "
            "with PYTHON=python3.11."
        )
    unknown = [argument for argument in arguments if argument not in WHAT]
    if unknown:
        return refuse("Unknown: {}. Choose from: {}.".format(" ".join(unknown), " ".join(WHAT)))
    from twinloop.local.errors import CannotStart

    try:
        install(set(arguments) or {"services", "triton", "kafka"})
    except CannotStart as problem:
        return refuse(str(problem))
    except KeyboardInterrupt:
        return refuse("Stopped. What was half installed is installed anew by the next run.")
    return 0


def install(wanted: "set[str]") -> None:
    from twinloop.local.errors import CannotStart
    from twinloop.local.install.environments import ensure_cached, ensure_services, ensure_training
    from twinloop.local.install.kafka import ensure_kafka
    from twinloop.local.install.machine import (
        available_memory_bytes,
        check_disk,
        check_machine,
        check_memory,
        free_disk_bytes,
    )
    from twinloop.local.install.prometheus import ensure_prometheus
    from twinloop.local.install.triton import ensure_triton
    from twinloop.local.places import find_places

    places = find_places()
    triton = "triton" in wanted and not os.environ.get("TWINLOOP_TRITON")
    kafka = "kafka" in wanted and not os.environ.get("TWINLOOP_KAFKA")
    if triton:
        check_machine()
    if triton or kafka:
        check_memory(available_memory_bytes())
    if (triton and not places.triton.complete) or (kafka and not places.kafka.complete):
        check_disk(places.cache, free_disk_bytes(places.cache))

    if "accept-jars" in wanted:
        accept_jars(places)
    if "services" in wanted or "dev" in wanted:
        ensure_services(places, dev="dev" in wanted, say=say)
    if triton:
        ensure_triton(places, say)
    if kafka:
        ensure_kafka(places, say)
    if "prometheus" in wanted:
        try:
            ensure_prometheus(places, say)
        except CannotStart as problem:
            if "dev" not in wanted:
                raise
            say(f"going on without Prometheus, and its tests will fail. {problem}")
    if "bench" in wanted:
        requirements = places.requirements / "bench.txt"
        ensure_cached(places.bench, requirements, "what is compared", say, finish=lambda _log: None)
    if "audit" in wanted:
        requirements = places.requirements / "audit.txt"
        ensure_cached(places.audit, requirements, "what knows weaknesses", say, finish=lambda _log: None)
    if "train" in wanted:
        ensure_training(places, say)


def accept_jars(places: "Places") -> None:
    from twinloop.local.install import environments, kafka
    from twinloop.local.places import Installed

    with tempfile.TemporaryDirectory() as work:
        aside = Installed(Path(work))
        log = aside.folder / "install.log"
        environments.create_venv(aside.venv, log)
        environments.install_requirements(aside.venv, places.requirements / "kafka.txt", log, "the resolver")
        kafka.write_manifest(places.jar_manifest, kafka.resolve(aside, aside.folder, log))
    say(f"wrote {places.jar_manifest}: look at what changed before committing it")


def refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:5.1f} s] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
