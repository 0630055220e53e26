"""Where to look while a stack runs and afterwards, with commands that work as they stand."""

from __future__ import annotations

import sys
from pathlib import Path

from twinloop.local.plan import Endpoints
from twinloop.local.state import naming

_TOPICS = ("changes", "audit", "anomalies", "genealogy", "alarms", "models", "dead-letters")


def where_to_look(endpoints: Endpoints, *, running: bool) -> str:
    """Text for the terminal. When nothing is `running` any more, only files are left to look at."""
    lines = ["Parquet files (telemetry, anomalies, changes):", f"  {relative(endpoints.parquet)}"]
    lines += ["Logs:", f"  {relative(endpoints.state / 'logs')}"]
    if running:
        lines += ["Addresses:", f"  {relative(endpoints.state / 'endpoints.env')}"]
        lines += _topics(endpoints) + _addresses(endpoints)
    return "\n".join(lines)


def _topics(endpoints: Endpoints) -> list[str]:
    if not endpoints.kafka:
        return []
    read = f"{naming(endpoints.state)}{relative(Path(sys.executable))} -m twinloop.local read"
    lines = ["Topics (JSON; telemetry is protobuf):"]
    lines += [f"  {read} {topic}" for topic in _TOPICS]
    topic = f"{endpoints.topic_prefix}changes"
    return [*lines, f"  kcat -b {endpoints.kafka} -C -t {topic} -o beginning -e    (where kcat is installed)"]


def _addresses(endpoints: Endpoints) -> list[str]:
    lines = []
    if endpoints.health:
        lines += ["Services:"]
        lines += [f"  {name:<17} {url}/health/ready  {url}/metrics" for name, url in endpoints.health.items()]
    if endpoints.triton_http:
        lines += ["Triton:", f"  http://{endpoints.triton_http}/v2    (gRPC {endpoints.triton})"]
    if endpoints.mqtt:
        lines += ["MQTT (Sparkplug B):", f"  {endpoints.mqtt}"]
    if endpoints.opcua:
        lines += ["PLC (OPC UA):", f"  {endpoints.opcua}"]
    if endpoints.prometheus:
        lines += ["Prometheus, with the alerts of docs/observability.md:"]
        lines += [f"  http://{endpoints.prometheus}/alerts"]
    return lines


def relative(path: Path) -> Path:
    """As one would type it here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
