"""Process models on disk: `<folder>/<process>/<version>/`, as the trainer's `identify` writes them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from twinloop.contracts.processes import ProcessCard
from twinloop.runtime.observability import logging
from twinloop.twin.process import BadProcessModel, ProcessModel

log = logging.logger(__name__)


class Processes:
    """Of each process the newest version when it was first found. While there is none, each call looks again:
    a process that is identified needs no restart; a newer version needs one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, ProcessModel] = {}

    def of(self, process: str) -> ProcessModel | str:
        """The model, or why there is none."""
        if process in self._loaded:
            return self._loaded[process]
        homes = [one for one in (self._folder / process).glob("[0-9]*") if one.name.isdecimal()]
        if not homes:
            return f"there is no process model {process}: identify it from a commissioning trial"
        newest = max(homes, key=lambda one: int(one.name))
        try:
            card = msgspec.json.decode((newest / "card.json").read_bytes(), type=ProcessCard)
            model = ProcessModel(card, (newest / "model.onnx").read_bytes())
        except (OSError, msgspec.DecodeError, BadProcessModel) as error:
            return f"the process model {process} version {newest.name} cannot be used: {error}"
        log.info("process model loaded", process=process, version=card.version, digest=card.digest)
        self._loaded[process] = model
        return model
