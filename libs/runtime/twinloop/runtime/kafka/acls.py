"""Kafka's ACLs, out of what `twinloop.contracts.rights` declares: `python -m twinloop.runtime.kafka.acls`.

Prints them as commands of `kafka-acls.sh`, or as KafkaUser resources of Strimzi; with --apply makes them at
`TWINLOOP_KAFKA`, as whom `TWINLOOP_KAFKA_*` says: somebody who may alter the cluster. Idempotent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from twinloop.contracts.rights import PROGRAMS, Acl, NoSite, Operation, Resource, acls, site
from twinloop.runtime.kafka.access import Kafka, client_of
from twinloop.runtime.settings import ServiceSettings, load

# Kafka's protocol guide, "ACL": org.apache.kafka.common.{resource,acl}.
_RESOURCE = {Resource.TOPIC: 2, Resource.GROUP: 3, Resource.TRANSACTIONAL_ID: 5}
_OPERATION = {Operation.READ: 3, Operation.WRITE: 4, Operation.CREATE: 5, Operation.DESCRIBE: 8}
_ANY, _LITERAL, _PREFIXED, _ALLOW = 1, 3, 4, 3
_EVERYWHERE = "*"


class AclsRefused(Exception):
    """Raised when Kafka does not take an ACL.

    Operator action: the text says why; usually the principal may not alter the cluster, or the cluster has no
    authorizer (`authorizer.class.name`).
    """


class _Creations(CreateAclsRequest):  # type: ignore[misc]  # aiokafka is untyped
    """Many at once: its own makes one a request."""

    def __init__(self, wanted: Iterable[Acl]) -> None:
        self._wanted = [_as_fields(one) for one in wanted]

    def build(self, request_struct_class: Any) -> Any:
        return request_struct_class(self._wanted)


def _as_fields(acl: Acl) -> tuple[int, str, int, str, str, int, int]:
    return (
        _RESOURCE[acl.resource],
        acl.name,
        _PREFIXED if acl.prefixed else _LITERAL,
        f"User:{acl.principal}",
        _EVERYWHERE,
        _OPERATION[acl.operation],
        _ALLOW,
    )


async def apply(kafka: Kafka, wanted: Sequence[Acl], *, prune: bool = False) -> tuple[int, int]:
    """Make those that are missing; with `prune`, take away every other one of the same principals. How many
    were made and taken away. Raises `AclsRefused`, `aiokafka.errors.KafkaError`."""
    admin = AIOKafkaAdminClient(**client_of(kafka))
    await admin.start()
    try:
        present = await _present(admin, {one.principal for one in wanted})
        due = {_as_fields(one) for one in wanted}
        missing = [one for one in wanted if _as_fields(one) not in present]
        if missing:
            answer = await admin._send_request(_Creations(missing))
            for one, (code, why) in zip(missing, answer.creation_responses, strict=True):
                if code:
                    raise AclsRefused(f"{command(one)}: {why or f'error {code}'}")
        others = sorted(present - due) if prune else []
        for fields in others:
            await _delete(admin, fields)
        return len(missing), len(others)
    finally:
        await admin.close()


async def remove(kafka: Kafka, unwanted: Iterable[Acl]) -> None:
    """Take these away. Raises `AclsRefused`, `aiokafka.errors.KafkaError`."""
    admin = AIOKafkaAdminClient(**client_of(kafka))
    await admin.start()
    try:
        for one in unwanted:
            await _delete(admin, _as_fields(one))
    finally:
        await admin.close()


async def _present(admin: AIOKafkaAdminClient, principals: Iterable[str]) -> set[tuple[Any, ...]]:
    found = set()
    for principal in sorted(principals):
        request = DescribeAclsRequest(_ANY, None, _ANY, f"User:{principal}", None, _ANY, _ANY)
        answer = await admin._send_request(request)
        if answer.error_code:
            raise AclsRefused(f"Kafka does not tell its ACLs: {answer.error_message or answer.error_code}")
        for kind, name, pattern, granted in answer.resources:
            found |= {(kind, name, pattern, *one) for one in granted}
    return found


async def _delete(admin: AIOKafkaAdminClient, fields: Sequence[Any]) -> None:
    answer = await admin._send_request(DeleteAclsRequest(*fields))
    for code, why, *_ in answer.filter_responses:
        if code:
            raise AclsRefused(f"an ACL could not be taken away: {why or f'error {code}'}")


def command(acl: Acl) -> str:
    """As arguments of `kafka-acls.sh`."""
    pattern = ["--resource-pattern-type", "prefixed"] if acl.prefixed else []
    words = ["--add", "--allow-principal", f"User:{acl.principal}", "--operation", acl.operation]
    return shlex.join([*words, f"--{acl.resource}", acl.name, *pattern])


def commands(wanted: Iterable[Acl]) -> str:
    """A shell script, which needs `$BOOTSTRAP` and the properties of an administrator."""
    tool = 'kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config "$ADMIN_PROPERTIES"'
    return "".join(f"{tool} {command(one)}\n" for one in wanted)


_STRIMZI = {Resource.TRANSACTIONAL_ID: "transactionalId"}
API_VERSION = "kafka.strimzi.io/v1"
"""Since Strimzi 0.49; `kafka.strimzi.io/v1beta2` before."""


def strimzi(
    wanted: Iterable[Acl], cluster: str, authentication: str, api_version: str = API_VERSION
) -> list[dict[str, Any]]:
    """As a KafkaUser for each principal, of the Strimzi cluster called `cluster`."""
    users = []
    for principal, those in groupby(sorted(wanted), lambda one: one.principal):
        granted = [
            {
                "resource": {
                    "type": _STRIMZI.get(resource, resource.value),
                    "name": name,
                    "patternType": "prefix" if prefixed else "literal",
                },
                "operations": [one.operation.value for one in same],
            }
            for (resource, name, prefixed), same in groupby(
                those, lambda one: (one.resource, one.name, one.prefixed)
            )
        ]
        users.append(
            {
                "apiVersion": api_version,
                "kind": "KafkaUser",
                "metadata": {"name": principal, "labels": {"strimzi.io/cluster": cluster}},
                "spec": {
                    "authentication": {"type": authentication},
                    "authorization": {"type": "simple", "acls": granted},
                },
            }
        )
    return users


def main(argv: Sequence[str] | None = None) -> int:
    """Print or apply; exit status 0 when done."""
    options = _parse(argv)
    chosen = [one for one in PROGRAMS if not options.program or one.name in options.program]
    wanted = acls(options.prefix, chosen)
    if not options.apply:
        if options.form == "strimzi":
            users = strimzi(wanted, options.cluster, options.authentication, options.api_version)
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": users}, indent=2) + "\n"
        else:
            text = commands(wanted)
        sys.stdout.write(text)
        return 0
    settings = load(ServiceSettings)
    wanted = acls(options.prefix or settings.topic_prefix, chosen)
    try:
        made, gone = asyncio.run(apply(settings.kafka_access, wanted, prune=options.prune))
    except (KafkaError, AclsRefused) as error:
        sys.stderr.write(f"The ACLs could not be made at {settings.kafka}: {error}\n")
        return 1
    sys.stdout.write(f"{made} ACLs made, {len(wanted) - made} were there, {gone} others taken away\n")
    return 0


def _site(prefix: str) -> str:
    try:
        return site(prefix)
    except NoSite as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m twinloop.runtime.kafka.acls", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--prefix", default="", type=_site, help="of the site, as TWINLOOP_TOPIC_PREFIX")
    parser.add_argument(
        "--program", action="append", choices=[one.name for one in PROGRAMS], help="this one only; repeatable"
    )
    parser.add_argument("--form", choices=("commands", "strimzi"), default="commands")
    parser.add_argument("--cluster", default="kafka", help="name of the Strimzi cluster (%(default)s)")
    parser.add_argument(
        "--authentication",
        choices=("scram-sha-512", "tls"),
        default="scram-sha-512",
        help="of Strimzi's users (%(default)s)",
    )
    parser.add_argument(
        "--api-version",
        default=API_VERSION,
        help="of Strimzi's objects (%(default)s; before Strimzi 0.49 kafka.strimzi.io/v1beta2)",
    )
    parser.add_argument("--apply", action="store_true", help="make them at TWINLOOP_KAFKA")
    parser.add_argument("--prune", action="store_true", help="with --apply: no others for these principals")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
