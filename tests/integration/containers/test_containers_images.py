"""What is in an image, and what is not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import docker
import pytest
from support.images import LOOP, ROOT, SERVICES, image
from support.yard import USER

LOOK = """
import glob, importlib.util, json, os, shutil, stat
unwanted = ("pip", "pip3", "gcc", "cc", "ld", "apt-get", "perl", "curl", "wget")
tools = [one for one in unwanted if shutil.which(one)]
raised = [f"{folder}/{name}" for top in ("/usr", "/opt", "/etc") for folder, _, names in os.walk(top)
          for name in names if os.lstat(f"{folder}/{name}").st_mode & (stat.S_ISUID | stat.S_ISGID)
          and not os.path.islink(f"{folder}/{name}")]
mine = [f for top in ("/usr", "/opt", "/etc") for f, _, _ in os.walk(top) if os.access(f, os.W_OK)]
print(json.dumps({"uid": os.getuid(), "tools": tools, "raised": raised, "writable": mine,
                  "pip": importlib.util.find_spec("pip") is not None,
                  "caches": glob.glob("/root/.cache/*") + glob.glob("/var/cache/apt/*")}))
"""
IMPORT = """
import importlib, pkgutil, sys, twinloop
names = [one.name for one in pkgutil.walk_packages(twinloop.__path__, "twinloop.")]
own = [one for one in names if one.split(".")[1] == sys.argv[1] and not one.endswith("__main__")]
for one in own:
    importlib.import_module(one)
print(len(own))
"""


@pytest.fixture(scope="module")
def client(engine: None) -> Iterator[docker.DockerClient]:
    one = docker.from_env()
    yield one
    one.close()


def python(client: docker.DockerClient, name: str, *arguments: str) -> str:
    """What Python says in a container without a network that nothing can be written to."""
    said = client.containers.run(
        image(name),
        entrypoint=["python"],
        command=list(arguments),
        remove=True,
        read_only=True,
        network_mode="none",
    )
    return str(said.decode())


@pytest.mark.parametrize("name", LOOP)
def test_it_is_nobody_and_can_change_nothing(client: docker.DockerClient, name: str) -> None:
    found = json.loads(python(client, name, "-c", LOOK))
    assert found == {"uid": 10001, "tools": [], "raised": [], "writable": [], "pip": False, "caches": []}
    assert client.images.get(image(name)).attrs["Config"]["User"] == USER


@pytest.mark.parametrize("name", LOOP)
def test_it_says_what_it_is(client: docker.DockerClient, name: str) -> None:
    config = client.images.get(image(name)).attrs["Config"]
    for label in ("title", "description", "version", "revision", "licenses", "vendor"):
        assert config["Labels"][f"org.opencontainers.image.{label}"]
    assert (name == "tools") is (config["Healthcheck"]["Test"] == ["NONE"])


@pytest.mark.parametrize("name", SERVICES)
def test_everything_that_a_service_imports_is_there(client: docker.DockerClient, name: str) -> None:
    assert int(python(client, name, "-c", IMPORT, name).split()[-1]) > 3


@pytest.mark.parametrize("name", LOOP)
def test_nothing_of_the_machine_that_built_it_is_left(client: docker.DockerClient, name: str) -> None:
    told = json.dumps(client.images.get(image(name)).history())
    for word in (str(ROOT), "index-url", "PIP_", "proxy", "@"):
        assert word not in told


def test_a_service_without_settings_says_what_it_needs(client: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.ContainerError, match="TWINLOOP_KAFKA") as told:
        client.containers.run(image("detector"), remove=True, stderr=True, network_mode="none")
    assert told.value.exit_status == 2
