"""A data scientist puts models into service: staged, then promoted, through modelops' public API.

The same as `twinloop models stage` and `promote`, which is how anyone would.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import httpx
import msgspec

from twinloop.contracts.models import ARTEFACT_FILES, ModelContract
from twinloop.contracts.packing import packed
from twinloop.local.demo.operator import People
from twinloop.local.demo.play import PlayError

DATA_SCIENTIST: Final = "dana"
PATIENT_S: Final = 180.0
"""Staging runs a model and loads it."""


async def into_service(people: People, folder: Path, reason: str, scope: str | None = None) -> str:
    """Stage the artefact in `folder` and let it serve `scope`, or else its signal set; returns a line for
    people. What serves there already goes on. `people`: at modelops, with `PATIENT_S`.

    Raises `PlayError` with what modelops says.
    """
    began_s = time.monotonic()
    files = {name: (folder / name).read_bytes() for name in ARTEFACT_FILES}
    contract = msgspec.json.decode(files["contract.json"], type=ModelContract)
    scope = scope or contract.signal_set
    try:
        staged = await people.upload(DATA_SCIENTIST, "/models/stage", packed(files), {"reason": reason})
        version = staged["version"]
        listed = await people.get(DATA_SCIENTIST, f"/models?model={contract.model}")
        if (scope, version) not in {(one["scope"], one["serving"]) for one in listed["routes"]}:
            asked = {"version": version, "scope": scope, "reason": reason}
            await people.post(DATA_SCIENTIST, "/models/promote", asked)
    except httpx.HTTPError as error:
        raise PlayError(f"{folder.name} is not served: {error or type(error).__name__}") from error
    took_s = time.monotonic() - began_s
    return f"{version} staged and promoted by {DATA_SCIENTIST}, serves {scope} ({took_s:.1f} s)"
