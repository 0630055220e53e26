"""What the chart tells a service is what its settings take, and nothing that they need is missing."""

from __future__ import annotations

from importlib import import_module

import pytest
from pydantic_settings import BaseSettings

from helm.chart import PROFILES, manifests, pods

SETTINGS = {
    "ingest": "IngestSettings",
    "detector": "DetectorSettings",
    "modelops": "ModelopsSettings",
    "controller": "ControllerSettings",
    "twin": "TwinSettings",
    "line": "LineSettings",
    "historian": "HistorianSettings",
    "simulator": "SimulatorSettings",
}
FOREIGN = {
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_SERVICE_NAME",
    "MALLOC_ARENA_MAX",
}
"""What others than the settings read."""
PLACES = ("/etc/twinloop/", "/data/", "/models", "/parquet", "/processes")


def settings_of(program: str) -> list[type[BaseSettings]]:
    """The settings that a program reads."""
    module = import_module(f"twinloop.{program}.settings")
    read: list[type[BaseSettings]] = [getattr(module, SETTINGS[program])]
    if program == "controller":
        read.append(import_module("twinloop.trust.bearer").AccessSettings)
    return read


def variables(program: str) -> dict[str, bool]:
    """Variables that a program reads, and whether it needs them."""
    found = {}
    for kind in settings_of(program):
        prefix = str(kind.model_config.get("env_prefix", ""))
        for name, field in kind.model_fields.items():
            alias = field.validation_alias
            found[alias if isinstance(alias, str) else f"{prefix}{name}".upper()] = field.is_required()
    return found


@pytest.mark.parametrize("profile", PROFILES)
def test_variables_are_those_of_the_settings(profile: str) -> None:
    for _, metadata, spec in pods(manifests(profile)):
        program = metadata["labels"].get("twinloop.io/program")
        if program not in SETTINGS:
            continue
        known = variables(program)
        told = [one["name"] for one in spec["containers"][0]["env"]]
        assert len(told) == len(set(told)), f"{program}: {sorted(told)}"
        unknown = set(told) - known.keys() - FOREIGN
        assert not unknown, f"{program} does not read {unknown}"
        missing = {name for name, required in known.items() if required} - set(told)
        assert not missing, f"{program} needs {missing}"


@pytest.mark.parametrize("profile", PROFILES)
def test_files_that_are_named_lie_in_volumes_that_are_mounted(profile: str) -> None:
    for one, _, spec in pods(manifests(profile)):
        container = spec["containers"][0]
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        for variable in container.get("env", []):
            value = str(variable.get("value", ""))
            if value.startswith(PLACES):
                assert any(value == mount or value.startswith(f"{mount}/") for mount in mounts), (
                    one["metadata"]["name"],
                    variable,
                )


@pytest.mark.parametrize("profile", PROFILES)
def test_files_that_are_named_are_there(profile: str) -> None:
    objects = manifests(profile)
    plants = {one["metadata"]["name"]: one["data"] for one in objects if one["kind"] == "ConfigMap"}
    for _, metadata, spec in pods(objects):
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        container = spec["containers"][0]
        for mount in container["volumeMounts"]:
            volume = volumes.get(mount["name"], {})
            there: set[str] = set()
            if "projected" in volume:
                for source in volume["projected"]["sources"]:
                    for kind in source.values():
                        there |= {item["path"] for item in kind.get("items", [])} | (
                            {kind["path"]} if "path" in kind else set()
                        )
            elif "configMap" in volume and volume["configMap"]["name"] in plants:
                there = set(plants[volume["configMap"]["name"]])
            else:
                continue
            for variable in container.get("env", []):
                value = str(variable.get("value", ""))
                if value.startswith(f"{mount['mountPath']}/"):
                    wanted = value.removeprefix(f"{mount['mountPath']}/")
                    assert any(name == wanted or name.startswith(f"{wanted}/") for name in there), (
                        metadata["labels"],
                        variable,
                    )


def test_settings_from_values_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be read without files is read for real: the detector's variables make its settings."""
    from twinloop.detector.settings import DetectorSettings

    for profile in ("minimal", "trial", "hardened"):
        for _, metadata, spec in pods(manifests(profile)):
            if metadata["labels"].get("twinloop.io/program") == "detector":
                for variable in spec["containers"][0]["env"]:
                    monkeypatch.setenv(variable["name"], variable["value"])
                settings = DetectorSettings()
                assert settings.group == metadata["labels"]["app.kubernetes.io/component"]
                assert not settings.shared_memory
                assert settings.grace_s >= 8
