"""Where to look while a stack runs, with commands that work as they stand."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

_TOPICS = ("changes", "anomalies", "genealogy", "alarms", "models", "dead-letters")


def guide(endpoints: Mapping[str, str], state: Path) -> str:
    """Text for the terminal, from the addresses in endpoints.env."""
    python = _relative(Path(sys.executable))
    kafka = endpoints.get("TWINLOOP_KAFKA", "")
    prefix = endpoints.get("TWINLOOP_TOPIC_PREFIX", "")
    lines = ["Topics (JSON; telemetry is protobuf):"]
    lines += [f"  {python} -m twinloop.local read {topic}" for topic in _TOPICS]
    lines += [f"  kcat -b {kafka} -C -t {prefix}changes -o beginning -e   # where kcat is installed"]
    lines += ["", "Parquet files (telemetry, anomalies, changes):"]
    lines += [f"  {endpoints.get('TWINLOOP_HISTORIAN_FOLDER', '')}"]
    urls = {key: url for key, url in endpoints.items() if key.endswith("_URL")}
    if urls:
        lines += ["", "Services (/health/ready, /metrics):"]
        lines += [
            f"  {key[9:-4].lower().replace('_', '-'):<10} {url}/health/ready" for key, url in urls.items()
        ]
    if endpoints.get("TWINLOOP_TRITON_HTTP"):
        lines += [
            "",
            "Triton:",
            f"  http://{endpoints['TWINLOOP_TRITON_HTTP']}/v2  (gRPC {endpoints['TWINLOOP_TRITON']})",
        ]
    if endpoints.get("TWINLOOP_OPCUA"):
        lines += ["", "PLC (OPC UA):", f"  {endpoints['TWINLOOP_OPCUA']}"]
    lines += [
        "",
        "Logs and addresses:",
        f"  {_relative(state / 'logs')}  {_relative(state / 'endpoints.env')}",
    ]
    return "\n".join(lines)


def _relative(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
