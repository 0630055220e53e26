"""Write what is in each image to build/sbom: a CycloneDX bill of materials, and a report of licences.

    sbom.py [IMAGE ...]     (default: every image of the tag TAG)

The image itself is asked: its Python packages by their metadata, Debian's by their list, Java's by their
files, and Java itself by what it says of its release. The report names what has no licence that it could
tell; exit status 1 when a licence of Python's is strange.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parents[2]
IMAGES = (
    *("ingest", "detector", "modelops", "controller", "twin", "line", "historian", "simulator"),
    *("trainer", "cli", "tools", "mqtt", "triton-cpu", "kafka", "prometheus"),
)
PYTHON, DEBIAN, JAVA = "pypi", "deb", "maven"

_LOOK = r"""
import importlib.metadata as metadata, json, pathlib, re
found = []
for one in metadata.distributions():
    told = one.metadata
    kinds = [k for k in told.get_all("Classifier") or [] if k.startswith("License ::")]
    kinds = [k.split("::")[-1].strip() for k in kinds]
    text = told.get("License-Expression") or "; ".join(kinds) or (told.get("License") or "").split("\n")[0]
    found.append(["pypi", told["Name"], one.version, text])
statuses = [pathlib.Path("/var/lib/dpkg/status"), *pathlib.Path("/opt").glob("*/dpkg-status")]
texts = [one.read_text(errors="replace") for one in statuses if one.exists()]
for block in "\n\n".join(texts).split("\n\n"):
    fields = dict(line.split(": ", 1) for line in block.splitlines() if re.match(r"\S+: ", line))
    if fields.get("Status", "").endswith(" installed"):
        rights = pathlib.Path("/usr/share/doc", fields["Package"], "copyright")
        text = rights.read_text(errors="replace") if rights.exists() else ""
        names = re.findall(r"^License: *(\S.*)$", text, re.M)
        found.append(["deb", fields["Package"], fields["Version"], "; ".join(dict.fromkeys(names))])
for jar in sorted(pathlib.Path("/opt").glob("**/jars/*.jar")):
    name, version = re.fullmatch(r"(.+?)-(\d.*)\.jar", jar.name).groups()
    found.append(["maven", name, version, ""])
for release in sorted(pathlib.Path("/opt").glob("*/java/release")):
    version = re.search(r'^JAVA_VERSION="(.+)"$', release.read_text(), re.M)[1]
    found.append(["generic", "openjdk", version, "GPL-2.0-only WITH Classpath-exception-2.0"])
print(json.dumps(found))
"""

_PERMISSIVE = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software|zlib|HPND|Unlicense|Public.Domain|CC0|MPL|Mozilla|Zope|ZPL|"
    r"Boost|BSL|Expat|X11|OpenSSL|BlueOak|EPL",
    re.I,
)
"""Licences under which an image may be handed on without its own source being given."""
_DECIDED = {
    ("asyncua", "GNU Lesser General Public License v3 or later (LGPLv3+)"): (
        "handed on as it is, as source, and may be replaced in the image"
    ),
    ("venusian", "Repoze Public License"): "as that of BSD, and of names besides",
}
"""Others that somebody has looked at, by package: why they may be handed on, too."""


@dataclass(frozen=True, order=True)
class Piece:
    """Something that lies in an image. `licence`: in its maker's words; empty where it does not say."""

    kind: str
    name: str
    version: str
    licence: str

    def component(self) -> Component:
        licences = [LicenseFactory().make_from_string(self.licence[:200])] if self.licence else []
        space = "debian" if self.kind == DEBIAN else None
        return Component(
            type=ComponentType.LIBRARY,
            name=self.name,
            version=self.version,
            licenses=licences,
            purl=PackageURL(self.kind, space, self.name, self.version),
            bom_ref=f"{self.kind}/{self.name}@{self.version}",
        )


def docker() -> str:
    """The client."""
    script = ROOT / "deploy/docker/engine.sh"
    subprocess.run([script, "up"], check=True, stdout=subprocess.DEVNULL)
    return subprocess.run([script, "client"], check=True, capture_output=True, text=True).stdout.strip()


def pieces(client: str, image: str) -> list[Piece]:
    """What the image says is in it, each once. Raises `SystemExit` where there is no such image."""
    command = [client, "run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", _LOOK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{image} cannot be asked (make images builds it):\n{done.stderr}")
    return sorted({Piece(*one) for one in json.loads(done.stdout)})


def bill(image: str, tag: str, found: list[Piece]) -> str:
    """As CycloneDX 1.6 in JSON. Raises `SystemExit` when it is not valid."""
    components = [one.component() for one in found]
    whole = Component(
        type=ComponentType.CONTAINER, name=f"twinloop/{image}", version=tag, bom_ref=f"twinloop/{image}"
    )
    bom = Bom(components=components)
    bom.metadata.component = whole
    bom.register_dependency(whole, components)
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise SystemExit(f"the bill of {image} is not valid: {problem}")
    return text


def report(by_image: dict[str, list[Piece]]) -> Iterator[str]:
    """Every piece of Python and Java once, with the images that hold it; Debian's as a count."""
    yield "# Licences of what is in the images\n\nWritten by `make sbom`.\n\n"
    yield "| package | version | licence | images |\n|---|---|---|---|\n"
    everything = sorted({one for found in by_image.values() for one in found})
    for one in everything:
        if one.kind != DEBIAN:
            where = [image for image, found in by_image.items() if one in found]
            told = one.licence.replace("|", "/") or "not told in its metadata"
            yield f"| {one.name} | {one.version} | {told} | {', '.join(where)} |\n"
    debian = {one for one in everything if one.kind == DEBIAN}
    for (name, licence), why in _DECIDED.items():
        yield f"\n{name} ({licence}): {why}.\n"
    yield f"\nBeside them {len(debian)} packages of Debian 12: their licences are in its /usr/share/doc.\n"


def doubtful(found: list[Piece]) -> list[Piece]:
    """Of Python's packages, those whose licence is told, and is neither permissive nor decided on."""
    return [
        one
        for one in found
        if one.kind == PYTHON
        and one.licence
        and not _PERMISSIVE.search(one.licence)
        and (one.name, one.licence) not in _DECIDED
    ]


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(IMAGES)
    if unknown:
        raise SystemExit(f"There is no image {', '.join(sorted(unknown))}: choose from {', '.join(IMAGES)}.")
    version = re.search(r'^version = "(.+)"', (ROOT / "libs/runtime/pyproject.toml").read_text(), re.M)
    assert version is not None
    tag, client, into = os.environ.get("TAG", version[1]), docker(), ROOT / "build" / "sbom"
    into.mkdir(parents=True, exist_ok=True)
    by_image = {}
    for image in wanted or IMAGES:
        found = by_image[image] = pieces(client, f"twinloop/{image}:{tag}")
        (into / f"{image}.cdx.json").write_text(bill(image, tag, found))
        print(f"build/sbom/{image}.cdx.json: {len(found)} packages")
    (into / "licences.md").write_text("".join(report(by_image)))
    print("build/sbom/licences.md")
    strange = sorted({one for found in by_image.values() for one in doubtful(found)})
    for one in strange:
        print(
            f"{one.name} {one.version}: may it be handed on under {one.licence!r}? Look at it, and add it to"
            " _DECIDED in deploy/docker/sbom.py, or take it out.",
            file=sys.stderr,
        )
    return 1 if strange else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
