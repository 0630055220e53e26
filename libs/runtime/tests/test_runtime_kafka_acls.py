"""ACLs as others take them: commands of Kafka's tool, and users of Strimzi."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from twinloop.contracts.rights import PROGRAMS, acls
from twinloop.runtime.kafka.acls import commands, main, strimzi


def test_there_is_a_command_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--prefix", "acme.", "--program", "detector"]) == 0
    printed = capsys.readouterr().out
    assert printed == commands(acls("acme.", [one for one in PROGRAMS if one.name == "detector"]))
    words = [shlex.split(line) for line in printed.splitlines()]
    assert all(one[:2] == ["kafka-acls.sh", "--bootstrap-server"] for one in words)
    ids = [one for one in words if "--transactional-id" in one]
    assert [one[one.index("--allow-principal") :] for one in ids] == [
        [
            *("--allow-principal", "User:acme.detector", "--operation", "Write"),
            *("--transactional-id", "acme.detector-", "--resource-pattern-type", "prefixed"),
        ]
    ]
    assert not [one for one in words if "acme.changes" in one]


def test_strimzi_has_a_user_for_each_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--form", "strimzi", "--cluster", "plant", "--authentication", "tls"]) == 0
    users = json.loads(capsys.readouterr().out)["items"]
    assert users == strimzi(acls(), "plant", "tls")
    assert {one["metadata"]["name"] for one in users} == {one.name for one in PROGRAMS}
    (detector,) = (one for one in users if one["metadata"]["name"] == "detector")
    assert detector["metadata"]["labels"] == {"strimzi.io/cluster": "plant"}
    granted = detector["spec"]["authorization"]["acls"]
    both = {"type": "topic", "name": "model-memory", "patternType": "literal"}
    assert {"resource": both, "operations": ["Read", "Write"]} in granted
    ids = {"type": "transactionalId", "name": "detector-", "patternType": "prefix"}
    assert {"resource": ids, "operations": ["Write"]} in granted
    assert sum(
        len(one["operations"]) for user in users for one in user["spec"]["authorization"]["acls"]
    ) == len(acls())


def test_strimzis_objects_are_of_the_version_that_the_chart_makes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = (Path(__file__).parents[3] / "helm/twinloop/values.yaml").read_text()
    (made,) = re.findall(r"apiVersion: (kafka\.strimzi\.io/\S+)", values)
    for words, version in (
        ([], made),
        (["--api-version", "kafka.strimzi.io/v1beta2"], "kafka.strimzi.io/v1beta2"),
    ):
        assert main(["--form", "strimzi", *words]) == 0
        assert {one["apiVersion"] for one in json.loads(capsys.readouterr().out)["items"]} == {version}


def test_what_is_no_program_is_refused() -> None:
    with pytest.raises(SystemExit):
        main(["--program", "nobody"])


@pytest.mark.parametrize("prefix", ["acme", "detector-2."])
def test_a_prefix_that_is_no_sites_is_refused(prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--prefix", prefix])
    assert caught.value.code == 2
    assert prefix in capsys.readouterr().err
