"""Acts of persons in an API: how their errors are answered, documented and counted.

acts = Acts({NotKnown: 404, KafkaError: 503}, metrics.requests)
acts.protect(api)

@api.post("/promote", responses=documented({404: "There is no such version."}))
async def promote(...) -> ...:
    return await acts.counted("promote", desk.promote(...))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from fastapi import FastAPI
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from twinloop.trust.bearer import problem
from twinloop.trust.errors import NotAllowed

T = TypeVar("T")

_AGAIN_S: Final = 2
_UNAVAILABLE: Final = 503


class Problem(BaseModel):
    """Why there is no other answer."""

    model_config = ConfigDict(frozen=True)

    problem: str


def documented(meanings: Mapping[int, str], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that answers `statuses` with a `Problem`; `meanings` of them all."""
    return {one: {"model": Problem, "description": meanings[one]} for one in statuses}


class Acts:
    """`statuses`: that of each kind of error, beside those of `bearer.protect`. `requests`: labelled by act
    and by status. `words`: by kind, what is told instead of the error's own text, which is put at `{}`."""

    def __init__(
        self,
        statuses: Mapping[type[Exception], int],
        requests: Counter,
        words: Mapping[type[Exception], str] | None = None,
    ) -> None:
        self._statuses = statuses
        self._requests = requests
        self._words = words or {}

    def protect(self, api: FastAPI) -> None:
        """Say every such error as `{"problem": "..."}`; with 503 goes when to ask again."""
        for kind, status in self._statuses.items():
            api.add_exception_handler(kind, self._teller(status))

    async def counted(self, act: str, doing: Awaitable[T]) -> T:
        """Do it, and count it by how it is answered."""
        status = 500
        try:
            done = await doing
            status = 200
            return done
        except Exception as error:
            kinds = {**self._statuses, NotAllowed: 403}
            status = next((code for kind, code in kinds.items() if isinstance(error, kind)), status)
            raise
        finally:
            self._requests.labels(act, str(status)).inc()

    def _teller(self, status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
        async def tell(_: Request, error: Exception) -> Response:
            words = next((text for kind, text in self._words.items() if isinstance(error, kind)), "{}")
            headers = {"Retry-After": str(_AGAIN_S)} if status == _UNAVAILABLE else None
            return problem(status, words.format(error), headers)

        return tell
