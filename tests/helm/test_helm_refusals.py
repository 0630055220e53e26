"""Wrong values are refused, each with a sentence that says what to do."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from helm.chart import ask, merged, values_of

WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    # ---- what the schema tells
    "a value that nobody knows": ("minimal", {"detektor": {"replicas": 3}}, "detektor"),
    "a value that nobody knows, deep": ("minimal", {"kafka": {"tls": {"secret": "x"}}}, "secret"),
    "a value that has no effect any more": (
        "minimal",
        {"detector": {"partitions": 24}},
        "partitions",
    ),
    "a number for a text": ("minimal", {"kafka": {"bootstrapServers": 9092}}, "/kafka/bootstrapServers"),
    "an address without a port": (
        "minimal",
        {"kafka": {"bootstrapServers": "kafka"}},
        "/kafka/bootstrapServers",
    ),
    "a site that begins another's name": ("minimal", {"topicPrefix": "acme"}, "/topicPrefix"),
    "a mechanism that there is not": (
        "minimal",
        {"kafka": {"sasl": {"mechanism": "GSSAPI"}}},
        "/kafka/sasl/mechanism",
    ),
    "scaling by both": ("minimal", {"scaling": {"mode": "keda,hpa"}}, "/scaling/mode"),
    "a digest that is none": (
        "minimal",
        {"detector": {"image": {"digest": "sha256:12"}}},
        "/detector/image/digest",
    ),
    "a preset that there is not": ("minimal", {"line": {"resourcesPreset": "huge"}}, "/line/resourcesPreset"),
    "a negative number of pods": ("minimal", {"detector": {"replicas": -1}}, "/detector/replicas"),
    "no pod where they are scaled": ("keda", {"detector": {"minReplicas": 0}}, "/detector/minReplicas"),
    "a drain that is cut off": ("minimal", {"shutdown": {"drainSeconds": 2}}, "/shutdown/drainSeconds"),
    "a variable that is none of ours": ("minimal", {"line": {"settings": {"PATH": "/"}}}, "/line/settings"),
    "tokens fetched in clear": (
        "oauth",
        {"kafka": {"sasl": {"oauth": {"tokenUrl": "http://id.plant.example/token"}}}},
        "/kafka/sasl/oauth/tokenUrl",
    ),
    "a PLC over HTTP": ("minimal", {"line": {"opcua": {"endpoint": "http://plc"}}}, "/line/opcua/endpoint"),
    "root": ("minimal", {"podUser": 0}, "/podUser"),
    # ---- what fields say together
    "a label that is the chart's": (
        "minimal",
        {"commonLabels": {"app.kubernetes.io/component": "mine"}},
        "commonLabels sets app.kubernetes.io/component",
    ),
    "no Kafka": ("minimal", {"kafka": {"bootstrapServers": ""}}, "There is no Kafka: name yours"),
    "two Kafkas": (
        "strimzi",
        {"kafka": {"bootstrapServers": "kafka:9092"}},
        "There are two Kafkas: kafka.bootstrapServers and kafka.strimzi.createCluster.",
    ),
    "Strimzi's users at a trial broker": (
        "trial",
        {"kafka": {"strimzi": {"enabled": True}}},
        "kafka.strimzi and kafka.trial are both enabled",
    ),
    "two that set ACLs": ("strimzi", {"kafka": {"acls": {"enabled": True}}}, "Strimzi sets the ACLs"),
    "SASL without a mechanism": (
        "minimal",
        {"kafka": {"security": "SASL_SSL"}},
        "kafka.sasl.mechanism must say how",
    ),
    "SASL without a secret": (
        "sasl-scram",
        {"kafka": {"sasl": {"existingSecret": ""}}},
        "kafka.security is SASL_SSL without passwords: make a Secret",
    ),
    "a mechanism without SASL": (
        "sasl-scram",
        {"kafka": {"security": "SSL"}},
        "set that to SASL_SSL, or empty",
    ),
    "certificates in clear": (
        "mtls",
        {"kafka": {"security": "PLAINTEXT"}},
        "kafka.tls names certificates, but",
    ),
    "OAUTHBEARER without tokens": (
        "oauth",
        {"kafka": {"sasl": {"oauth": {"tokenUrl": ""}}}},
        "OAUTHBEARER needs tokens",
    ),
    "two sources of tokens": (
        "oauth",
        {"kafka": {"sasl": {"oauth": {"serviceAccountAudience": "kafka"}}}},
        "are two sources of tokens: keep one",
    ),
    "ACLs for nobody": (
        "minimal",
        {"kafka": {"acls": {"enabled": True}}},
        "Kafka would not know whom it speaks to",
    ),
    "ACLs for other names": (
        "sasl-scram",
        {"kafka": {"sasl": {"user": "tl-{program}"}}},
        "kafka.sasl.user is tl-{program}: leave it so, or make the ACLs yourself",
    ),
    "a service that may make topics": (
        "minimal",
        {"kafka": {"topics": {"program": "detector"}}},
        "kafka.topics.program is detector, which is a service",
    ),
    "more copies than brokers": (
        "strimzi",
        {"kafka": {"replication": 5}},
        "kafka.replication is 5, but kafka.strimzi.replicas are only 3 brokers",
    ),
    "all copies must be in sync": (
        "strimzi",
        {"kafka": {"strimzi": {"minInSyncReplicas": 3}}},
        "must be less than kafka.replication",
    ),
    "a trial broker with passwords": (
        "trial",
        {"kafka": {"security": "SSL"}},
        "kafka.trial speaks PLAINTEXT",
    ),
    "no MQTT": ("minimal", {"mqtt": {"address": ""}}, "There is no MQTT broker: name yours"),
    "two MQTT brokers": ("minimal", {"mqtt": {"trial": {"enabled": True}}}, "There are two MQTT brokers"),
    "MQTT without a password": (
        "sasl-scram",
        {"mqtt": {"existingSecret": ""}},
        "mqtt.user is given without a password",
    ),
    "an MQTT password in clear": ("sasl-scram", {"mqtt": {"tls": {"caSecret": ""}}}, "need TLS"),
    "more pods than partitions": (
        "minimal",
        {"detector": {"replicas": 13}},
        "detector.replicas is 13, but the topic has 12 partitions",
    ),
    "scaled beyond the partitions": (
        "keda",
        {"detector": {"maxReplicas": 24}},
        "detector.maxReplicas is 24, but the topic has 12 partitions: more pods than partitions",
    ),
    "more twins than partitions": (
        "minimal",
        {"twin": {"replicas": 7}},
        "twin.replicas is 7, but the topic has 6 partitions",
    ),
    "fewest above most": (
        "hpa",
        {"detector": {"minReplicas": 5, "maxReplicas": 4}},
        "is more than detector.maxReplicas",
    ),
    "activation below the partitions": (
        "keda",
        {"scaling": {"keda": {"activationLagThreshold": 12}}},
        "must exceed the 12 partitions of detector",
    ),
    "KEDA with a token that it cannot show": (
        "oauth",
        {
            "scaling": {"mode": "keda"},
            "kafka": {"sasl": {"oauth": {"tokenUrl": "", "serviceAccountAudience": "kafka"}}},
        },
        "KEDA cannot show a service account's token",
    ),
    "the same topic judged twice": (
        "minimal",
        {"detector": {"topics": "telemetry.factory,telemetry.vehicle"}},
        "detector.topics and detectorVehicles.topics both have telemetry.vehicle",
    ),
    "two ingests": ("minimal", {"ingest": {"replicas": 2}}, "ingest.replicas must be 1"),
    "two lines": ("minimal", {"line": {"replicas": 2}}, "line.replicas must be 1"),
    "two historians on one node's disk": (
        "minimal",
        {"historian": {"replicas": 2}, "storage": {"parquet": {"accessModes": ["ReadWriteOnce"]}}},
        "historian.replicas is more than 1",
    ),
    "a disk of one node for two": (
        "minimal",
        {"storage": {"models": {"accessModes": ["ReadWriteOnce"]}}},
        "storage.models is shared by pods of several nodes",
    ),
    "a disk of one node for several Tritons": (
        "minimal",
        {
            "modelops": {"enabled": False},
            "triton": {"replicas": 2},
            "storage": {"models": {"accessModes": ["ReadWriteOnce"]}},
        },
        "storage.models is shared by pods of several nodes",
    ),
    "no time to drain": (
        "minimal",
        {"detector": {"terminationGracePeriodSeconds": 20}},
        "detector.terminationGracePeriodSeconds is 20, but preStop, drain, commit and leave take 25 s",
    ),
    "no Triton": ("minimal", {"triton": {"enabled": False}}, "There is no Triton: set triton.enabled"),
    "many Tritons with modelops": (
        "minimal",
        {"triton": {"replicas": 3}},
        "modelops tells one of them what to load",
    ),
    "models in a bucket with modelops": (
        "minimal",
        {"triton": {"models": {"source": "s3", "url": "s3://models"}}},
        "modelops writes to a folder",
    ),
    "a bucket of another kind": ("keda", {"triton": {"models": {"source": "gcs"}}}, "must begin with gs://"),
    "models from nowhere": (
        "minimal",
        {"triton": {"models": {"source": "image"}}},
        "name the image in triton.models.image.repository",
    ),
    "queue time from nowhere": (
        "keda",
        {"triton": {"scaling": {"prometheus": ""}}},
        "name the Prometheus that KEDA asks",
    ),
    "engines that take too long": (
        "gpu",
        {"modelops": {"loadTimeoutSeconds": 60}},
        "a load builds engines, which takes minutes",
    ),
    "AUTO without an approver": (
        "trial",
        {"twin": {"enabled": False}},
        "controller.toml allows AUTO at an asset, but there is no approver",
    ),
    "AUTO whose releases nobody believes": (
        "trial",
        {"line": {"approvers": {"keys": []}}},
        "line.approvers.keys is empty: nobody's release would be believed",
    ),
    "a service without its file": (
        "trial",
        {"plant": {"reference": False}},
        "controller is enabled without its file",
    ),
    "two plants": (
        "minimal",
        {"plant": {"reference": True}},
        "plant.config and plant.reference would not be used",
    ),
    "no PLC": ("minimal", {"line": {"opcua": {"endpoint": ""}}}, "line has no PLC: name its endpoint"),
    "a real PLC in a trial": (
        "trial",
        {"line": {"opcua": {"endpoint": "opc.tcp://plc:4840"}}},
        "while line commands the real one",
    ),
    "OPC UA of two minds": (
        "trial",
        {"line": {"opcua": {"security": "none"}}},
        "no session would come about",
    ),
    "nobody may use the APIs": ("minimal", {"access": {"people": {"key": ""}}}, "Nobody could use the APIs"),
    "an issuer for everybody": ("oauth", {"access": {"oidc": {"audience": ""}}}, "a token for somebody else"),
    "an issuer without keys": ("oauth", {"access": {"oidc": {"jwksUrl": ""}}}, "needs its public keys"),
    "no secret": ("minimal", {"secrets": {"existingSecret": ""}}, "name a Secret in"),
    "a secret in a setting": (
        "minimal",
        {"ingest": {"settings": {"TWINLOOP_MQTT_PASSWORD": "x"}}},
        "ingest.settings.TWINLOOP_MQTT_PASSWORD is a secret",
    ),
    "a password in clear": (
        "sasl-scram",
        {"kafka": {"security": "SASL_PLAINTEXT", "sasl": {"mechanism": "PLAIN"}}},
        "would go over the network in clear: set kafka.security to SASL_SSL",
    ),
    "a site within another": (
        "minimal",
        {"topicPrefix": "acme.controller-b."},
        "topicPrefix is acme.controller-b., but topics",
    ),
    "traces to a port of gRPC": (
        "minimal",
        {"traces": {"endpoint": "http://collector.monitoring:4317"}},
        "services export OTLP over HTTP",
    ),
    "a setting that is the chart's": (
        "minimal",
        {"detector": {"settings": {"TWINLOOP_DETECTOR_GROUP": "mine"}}},
        "detector.settings.TWINLOOP_DETECTOR_GROUP is set by this chart",
    ),
    "a setting that a value makes": (
        "minimal",
        {"modelops": {"settings": {"TWINLOOP_MODELOPS_BUDGET_S": 1}}},
        "modelops.settings.TWINLOOP_MODELOPS_BUDGET_S is set by this chart",
    ),
    "a variable twice": (
        "minimal",
        {"extraEnv": [{"name": "TWINLOOP_TRITON", "value": "elsewhere:8001"}]},
        "detector has TWINLOOP_TRITON twice: extraEnv names it",
    ),
}


@cache
def answers() -> dict[str, dict[str, Any]]:
    """What Helm says to each."""
    requests = [{"values": merged(values_of(profile), over)} for profile, over, _ in WRONG.values()]
    return dict(zip(WRONG, ask(requests), strict=True))


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_values_are_refused_with_a_sentence(wrong: str) -> None:
    answer = answers()[wrong]
    assert "refused" in answer, "Helm took it"
    sentence = WRONG[wrong][2]
    found = answer["refused"].replace("values.", "/").replace("/twinloop/", "/")
    assert sentence in answer["refused"] or sentence in found, answer["refused"]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    values = merged(values_of("minimal"), {"kafka": {"bootstrapServers": ""}, "mqtt": {"address": ""}})
    (answer,) = ask([{"values": values}])
    assert "There is no Kafka" in answer["refused"]
    assert "There is no MQTT broker" in answer["refused"]
