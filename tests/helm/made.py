"""Files of the chart that are made from the code: topics and ACLs for Strimzi, the reference plant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from helm.renderer import CHART
from twinloop.contracts.rights import PROGRAMS
from twinloop.contracts.topics import ALL
from twinloop.runtime.kafka.provision import _new

PLANT = CHART.parents[1] / "deploy" / "local" / "config"
PLANT_FILES = ("controller", "field", "line", "serving", "simulator", "twin")


def topics() -> list[dict[str, Any]]:
    """The topics as a KafkaTopic wants them."""
    made = []
    for topic in ALL:
        new = _new(topic, "", 1)
        config = {
            key: int(value) if value.lstrip("-").isdigit() else value
            for key, value in new.topic_configs.items()
        }
        made.append({"name": topic.name, "partitions": new.num_partitions, "config": config})
    return made


def acls() -> dict[str, list[dict[str, Any]]]:
    """What each program may do, as a KafkaUser wants it."""
    types = {"transactional-id": "transactionalId"}
    made: dict[str, list[dict[str, Any]]] = {}
    for program in PROGRAMS:
        granted = sorted(set(program.acls("")))
        made[program.name] = [
            {
                "type": types.get(resource.value, resource.value),
                "name": name,
                "pattern": "prefix" if prefixed else "literal",
                "operations": [one.operation.value for one in same],
            }
            for (resource, name, prefixed), same in groupby(
                granted, lambda one: (one.resource, one.name, one.prefixed)
            )
        ]
    return made


def expected() -> Iterator[tuple[Path, str]]:
    """Every file and its content."""
    yield CHART / "files" / "topics.json", json.dumps(topics(), indent=1) + "\n"
    yield CHART / "files" / "acls.json", json.dumps(acls(), indent=1) + "\n"
    for name in PLANT_FILES:
        yield CHART / "files" / "plant" / f"{name}.toml", (PLANT / f"{name}.toml").read_text()


def write() -> None:
    """Bring the files up to date."""
    for path, content in expected():
        path.write_text(content)
