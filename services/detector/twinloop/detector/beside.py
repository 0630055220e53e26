"""What a version that decides nothing may cost those that do: a little time, and no window.

It is on trial, or stands by. Windows that it cannot judge are dropped and counted: that its verdicts are
missing is what its trial is stopped for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TypeVar

from twinloop.contracts.models import ModelContract
from twinloop.detector.metrics import Metrics
from twinloop.runtime.observability import logging
from twinloop.tritonio.errors import ContractMismatch, InferenceFailed, TritonError

log = logging.logger(__name__)

T = TypeVar("T")


class Reason(StrEnum):
    """Why there is no verdict."""

    FAILED = "failed"
    """The model raised, or answered NaN, or something else than its contract says."""
    UNAVAILABLE = "unavailable"
    """It is not loaded, or its circuit is open."""
    LATE = "late"
    """It took longer than there is patience for, or rests after that."""


class Patience:
    """Waits for a version that decides nothing, `patience_s` at most. Where that was too short, it is not
    asked for `rest_s`: so rounds are held up for a tenth of the time at most, whatever it does."""

    def __init__(self, metrics: Metrics, *, patience_s: float = 1.0, rest_s: float = 10.0) -> None:
        self._metrics = metrics
        self._patience_s = patience_s
        self._rest_s = rest_s
        self._rests_until: dict[tuple[str, int], float] = {}

    async def wait_for(
        self, contract: ModelContract, windows: int, ask: Callable[[], Awaitable[T]]
    ) -> T | None:
        """What comes of `ask`, about so many windows; `None`, and they are counted, when nothing does."""
        now, version = asyncio.get_running_loop().time, (contract.model, contract.version)
        if now() < self._rests_until.get(version, 0.0):
            self.dropped(contract, windows, Reason.LATE)
            return None
        try:
            async with asyncio.timeout(self._patience_s):
                return await ask()
        except TimeoutError:
            self._rests_until[version] = now() + self._rest_s
            self._lost(contract, windows, Reason.LATE, f"no answer within {self._patience_s:g} s")
        except (InferenceFailed, ContractMismatch) as failure:
            self._lost(contract, windows, Reason.FAILED, str(failure))
        except TritonError:
            self.dropped(contract, windows, Reason.UNAVAILABLE)  # the circuit has said so
        return None

    def dropped(self, contract: ModelContract, windows: int, reason: Reason) -> None:
        """Count windows without a verdict."""
        self._metrics.trial_failures.labels(contract.model, reason).inc(windows)

    def _lost(self, contract: ModelContract, windows: int, reason: Reason, problem: str) -> None:
        self.dropped(contract, windows, reason)
        log.warning(
            "no verdicts of a version that decides nothing",
            model=contract.model,
            version=contract.version,
            windows=windows,
            problem=problem,
        )
