"""What a scenario is played on: a stack of this process, or one elsewhere, such as in containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from twinloop.local.errors import CannotStart
from twinloop.local.plan import Endpoints
from twinloop.local.state import StateFolder

NEEDED = ("TWINLOOP_KAFKA", "TWINLOOP_HISTORIAN_FOLDER")
ASKED = ("simulator", "modelops", "detector", "twin", "controller")
"""Services that people of the demo speak to."""


class Stage(Protocol):
    """Everything on it is ready. `state` has the tokens of people in `certs/tokens`; process models go into
    its `processes`, where the twin looks for them."""

    @property
    def state(self) -> StateFolder: ...

    @property
    def endpoints(self) -> Endpoints: ...


@dataclass(frozen=True)
class Elsewhere:
    """A stack that somebody else started, and will stop."""

    state: StateFolder
    endpoints: Endpoints

    @classmethod
    def of(cls, folder: Path, environ: Mapping[str, str]) -> Self:
        """As the environment names it, in the words of endpoints.env. Raises `CannotStart`."""
        needed = [*NEEDED, *(f"TWINLOOP_{one.upper()}_URL" for one in ASKED)]
        missing = [one for one in needed if not environ.get(one)]
        if missing:
            raise CannotStart(f"A stack elsewhere is named by its addresses: set {', '.join(missing)}.")
        state = StateFolder(folder)
        if not (state.certs / "tokens").is_dir():
            raise CannotStart(
                f"{state.certs}/tokens is not there: people speak by their tokens, so put the folder of that "
                "stack's tokens there."
            )
        state.logs.mkdir(parents=True, exist_ok=True)
        return cls(state, Endpoints.from_environment(state.root, environ))
