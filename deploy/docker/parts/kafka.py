"""Starts Kafka in its container: settings from the environment, a formatted data folder, then Java in this
process's place, so that SIGTERM reaches it.

`KAFKA_<SETTING>` sets a property of the broker the way the `apache/kafka` image does: lower case, `_` for a
dot, `__` for an underscore, `___` for a dash. Beside them:

    CLUSTER_ID              the id that the data folder is formatted with
    KAFKA_HEAP_OPTS         Java's memory
    KAFKA_OPTS              further options of Java
    KAFKA_PROPERTIES_FILE   a file of further properties, for those that hold secrets
    KAFKA_SCRAM_FILE        users that a new cluster knows, `name password` a line (SCRAM-SHA-512)

Without any of them: one node, broker and controller, without security, known as its host name.
"""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

HOME = Path("/opt/kafka")
DATA = Path("/data")
_NOT_SETTINGS = {"KAFKA_HEAP_OPTS", "KAFKA_OPTS", "KAFKA_PROPERTIES_FILE", "KAFKA_SCRAM_FILE"}
_CLUSTER_ID = "dHdpbmxvb3AtbG9jYWwtMQ"
_LOG4J2 = """\
Configuration:
  status: warn
  Appenders:
    Console: {name: STDOUT, target: SYSTEM_OUT, PatternLayout: {pattern: "%d{ISO8601} %p %c{1} %m%n"}}
  Loggers:
    Root: {level: info, AppenderRef: {ref: STDOUT}}
    Logger: [{name: org.apache.kafka.common.config, level: warn}]
"""


def defaults(host: str) -> dict[str, str]:
    """Settings of a single node that loses nothing which a single node can keep."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@localhost:9093",
        "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "advertised.listeners": f"PLAINTEXT://{host}:9092",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(DATA / "log"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "5",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "5",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # A broker that was killed comes back only once its former self counts as dead: by default after 9 s.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
    }


def property_name(variable: str) -> str:
    """`KAFKA_LOG_DIRS` is `log.dirs`."""
    signs = {"___": "-", "__": "_", "_": "."}
    return re.sub("_{1,3}", lambda found: signs[found[0]], variable.removeprefix("KAFKA_").lower())


def settings(environ: Mapping[str, str], host: str) -> dict[str, str]:
    """The defaults, and over them what the environment says."""
    told = {
        property_name(name): value
        for name, value in environ.items()
        if name.startswith("KAFKA_") and name not in _NOT_SETTINGS
    }
    return defaults(host) | told


def users(lines: str) -> str:
    """Arguments that make a new cluster know the users, one a line: the storage tool reads them from a file,
    because others may see the arguments of a process."""
    pairs = (line.split(maxsplit=1) for line in lines.splitlines() if line.strip())
    return "".join(
        f"--add-scram\nSCRAM-SHA-512=[name={name},password={password.strip()}]\n" for name, password in pairs
    )


def private(path: Path, text: str) -> Path:
    """A file that nobody else may read."""
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def main(environ: Mapping[str, str]) -> None:
    scratch = Path(environ.get("TMPDIR", "/tmp"))
    lines = [f"{name}={value}\n" for name, value in settings(environ, socket.gethostname()).items()]
    if "KAFKA_PROPERTIES_FILE" in environ:
        lines.append(Path(environ["KAFKA_PROPERTIES_FILE"]).read_text())
    properties = private(scratch / "server.properties", "".join(lines))
    (scratch / "log4j2.yaml").write_text(_LOG4J2)

    java = [str(HOME / "java" / "bin" / "java")]
    java += shlex.split(environ.get("KAFKA_HEAP_OPTS", "-Xms256m -Xmx512m"))
    # C1 only: the broker is ready in half the time and leaves the processor to the others.
    java += ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"]
    java += [f"-XX:SharedArchiveFile={HOME / 'kafka.jsa'}", f"-Djava.io.tmpdir={scratch}"]
    java += [f"-Dlog4j2.configurationFile=file:{scratch / 'log4j2.yaml'}"]
    java += [*shlex.split(environ.get("KAFKA_OPTS", "")), "-cp", f"{HOME / 'jars'}/*"]

    # A node whose data folder is formatted already keeps it.
    form = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-c", str(properties)]
    form += ["-t", environ.get("CLUSTER_ID", _CLUSTER_ID)]
    if "KAFKA_SCRAM_FILE" in environ:
        told = users(Path(environ["KAFKA_SCRAM_FILE"]).read_text())
        form.append(f"@{private(scratch / 'users', told)}")
    done = subprocess.run([*java, *form], check=False)
    if done.returncode:
        sys.exit(done.returncode)
    os.execv(java[0], [*java, "kafka.Kafka", str(properties)])


if __name__ == "__main__":
    main(os.environ)
