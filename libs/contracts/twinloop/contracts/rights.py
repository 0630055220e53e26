"""Who may do what at Kafka: each program with the topics, groups and transactional ids that it needs.

ACLs are generated from this (`python -m twinloop.runtime.kafka.acls`). A site's prefix goes before every
name, that of the principal included: `acme.detector` reads `acme.telemetry.factory` and nothing of anybody
else. A name that ends in `*` stands for all that begin with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from twinloop.contracts.errors import ContractError
from twinloop.contracts.topics import (
    ALARMS,
    ALL,
    ANOMALIES,
    AUDIT,
    CHANGES,
    DEAD_LETTERS,
    FIELD_EVIDENCE,
    GENEALOGY,
    MODEL_MEMORY,
    MODELS,
    RECEIPTS,
    SCORES,
    TELEMETRY_FACTORY,
    TELEMETRY_VEHICLE,
    Topic,
)


class Resource(StrEnum):
    """What an ACL is for, as Kafka's tools write it."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"


class Operation(StrEnum):
    """What may be done, as Kafka's tools write it. READ and WRITE let describe, too."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """`principal` may do `operation` at what is called `name`, or begins with it if `prefixed`."""

    principal: str
    resource: Resource
    name: str
    prefixed: bool
    operation: Operation


@dataclass(frozen=True, slots=True)
class Program:
    """What one program does at Kafka.

    `groups` it joins, `sees_groups` it asks for their positions only. `keeps` are topics of its own, which no
    other program knows and which it makes itself. `makes` are those that it makes for others.
    """

    name: str
    meaning: str
    reads: tuple[Topic, ...] = ()
    writes: tuple[Topic, ...] = ()
    describes: tuple[Topic, ...] = ()
    groups: tuple[str, ...] = ()
    sees_groups: tuple[str, ...] = ()
    transactional_ids: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    makes: tuple[Topic, ...] = ()

    def acls(self, prefix: str) -> Iterator[Acl]:
        """All that it needs, at the site with `prefix`."""
        topic, group = Resource.TOPIC, Resource.GROUP
        wanted: list[tuple[Resource, Iterable[str], Iterable[Operation]]] = [
            (topic, _names(self.reads), [Operation.READ]),
            (topic, _names(self.writes), [Operation.WRITE]),
            (topic, _names(self.describes), [Operation.DESCRIBE]),
            (topic, _names(self.makes), [Operation.CREATE, Operation.DESCRIBE]),
            (topic, self.keeps, [Operation.READ, Operation.WRITE, Operation.CREATE]),
            (group, self.groups, [Operation.READ]),
            (group, self.sees_groups, [Operation.DESCRIBE]),
            (Resource.TRANSACTIONAL_ID, self.transactional_ids, [Operation.WRITE]),
        ]
        for resource, names, operations in wanted:
            for name in names:
                for operation in operations:
                    bare = prefix + name.removesuffix("*")
                    yield Acl(prefix + self.name, resource, bare, name.endswith("*"), operation)


def _names(topics: Iterable[Topic]) -> list[str]:
    return [one.name for one in topics]


INGEST = Program(
    "ingest",
    "takes in what plants and vehicles send",
    writes=(TELEMETRY_FACTORY, TELEMETRY_VEHICLE, GENEALOGY, DEAD_LETTERS),
)
DETECTOR = Program(
    "detector",
    "judges telemetry, exactly once: a transactional id for each input partition",
    reads=(TELEMETRY_FACTORY, TELEMETRY_VEHICLE, MODELS, MODEL_MEMORY),
    writes=(ANOMALIES, SCORES, MODEL_MEMORY, RECEIPTS, DEAD_LETTERS),
    groups=("detector", "detector-*"),
    transactional_ids=("detector-*",),
)
MODELOPS = Program(
    "modelops",
    "says which model serves whom",
    reads=(MODELS, SCORES),
    writes=(MODELS, ALARMS, AUDIT),
)
CONTROLLER = Program(
    "controller",
    "proposes changes and verifies them; keeps the changelog of its table",
    reads=(GENEALOGY, ANOMALIES, CHANGES, FIELD_EVIDENCE),
    writes=(CHANGES, ALARMS, FIELD_EVIDENCE, AUDIT, DEAD_LETTERS),
    groups=("controller", "controller-field"),
    keeps=("controller-*",),
)
TWIN = Program(
    "twin",
    "forecasts and releases changes",
    reads=(TELEMETRY_FACTORY, GENEALOGY, CHANGES),
    writes=(CHANGES, ALARMS, AUDIT, DEAD_LETTERS),
    groups=("twin",),
)
LINE = Program(
    "line",
    "carries out changes",
    reads=(CHANGES,),
    writes=(CHANGES, ALARMS, AUDIT, DEAD_LETTERS),
    groups=("line",),
)
HISTORIAN = Program(
    "historian",
    "keeps what happened as files",
    reads=(
        *(TELEMETRY_FACTORY, TELEMETRY_VEHICLE, GENEALOGY, ANOMALIES, FIELD_EVIDENCE),
        *(CHANGES, ALARMS, AUDIT, DEAD_LETTERS, RECEIPTS, SCORES),
    ),
    groups=("historian",),
)
TRAINER = Program(
    "trainer",
    "scores the detector on what was recorded",
    reads=(SCORES, ANOMALIES),
    describes=(TELEMETRY_FACTORY,),
    sees_groups=("detector",),
)
CLI = Program("cli", "compares audit stores with their copies", reads=(AUDIT,))
MONITOR = Program(
    "monitor",
    "looks at everything and changes nothing: the demo's verdict, lag exporters, persons",
    reads=ALL,
    sees_groups=("controller", "controller-field", "detector", "detector-*", "historian", "line", "twin"),
)
PROVISION = Program("provision", "makes the topics, before everybody else starts", makes=ALL)

PROGRAMS: tuple[Program, ...] = (
    INGEST,
    DETECTOR,
    MODELOPS,
    CONTROLLER,
    TWIN,
    LINE,
    HISTORIAN,
    TRAINER,
    CLI,
    MONITOR,
    PROVISION,
)


_OWN: Final = tuple(
    sorted(
        {
            name.removesuffix("*")
            for one in PROGRAMS
            for name in (*one.keeps, *one.groups, *one.transactional_ids)
            if name.endswith("*")
        }
    )
)
"""How names begin that are a program's because of how they begin."""


class NoSite(ContractError, ValueError):
    """Raised when a prefix cannot be a site's.

    Operator action: the text says why; choose another `TWINLOOP_TOPIC_PREFIX`.
    """


def site(prefix: str) -> str:
    """`prefix`, which is none, or that of a site: words, each with a dot after it. Raises `NoSite`."""
    # Without the dot, `acme` would begin the names of `acmeville`, too.
    if prefix and not re.fullmatch(r"([A-Za-z0-9_-]+\.)+", prefix):
        raise NoSite(f"{prefix!r} must end in a dot, as in `acme.`; letters, digits, - and _ before it")
    for word in prefix.split("."):
        if word.startswith(_OWN):
            raise NoSite(
                f"{prefix!r}: {word!r} begins as names of a program do ({', '.join(_OWN)}): that program of"
                " the site around it could read and write what is this site's"
            )
    return prefix


def acls(prefix: str = "", programs: Iterable[Program] = PROGRAMS) -> tuple[Acl, ...]:
    """Those of all `programs` at the site with `prefix`, each once, in order. Raises `NoSite`."""
    return tuple(sorted({acl for program in programs for acl in program.acls(site(prefix))}))
