"""A service's API, asked over HTTP. Whatever comes back that is no answer becomes one sentence."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from twinloop.cli.errors import Away, Refused, Unusable
from twinloop.cli.places import TOKEN, TOKEN_FILE

_TIMEOUT_S: Final = 15.0
_SHOWN: Final = 300

T = TypeVar("T")


class Api:
    """One service. `name` is what a person calls it. `timeout_s` is how long an answer may take."""

    def __init__(self, name: str, url: str, token: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._name = name
        self._url = url
        self._timeout_s = timeout_s
        self._client = httpx.Client(
            base_url=url,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, _TIMEOUT_S)),
            headers={"Authorization": f"Bearer {token}"},
        )

    def get(self, *path: str, **query: object) -> Any:
        """The answer to `GET /path/parts?query`; what is `None` is left out."""
        return self._ask("GET", path, params={key: str(one) for key, one in query.items() if one is not None})

    def post(self, *path: str, **what: object) -> Any:
        """The answer to `POST /path/parts`; what is `None` is left out."""
        return self._ask("POST", path, json={key: one for key, one in what.items() if one is not None})

    def send(self, content: bytes, *path: str, **query: object) -> Any:
        """The answer to `POST /path/parts?query` with `content` as its body."""
        return self._ask("POST", path, content=content, params={key: str(one) for key, one in query.items()})

    def read(self, answer: object, kind: type[T]) -> T:
        """`answer` as `kind`. Raises `Unusable` when it is none."""
        try:
            return msgspec.convert(answer, kind, strict=False)
        except msgspec.ValidationError as error:
            raise Unusable(
                f"{self._name} at {self._url} answers in a way that this version does not understand "
                f"({error}): use the version of twinloop that it has."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def _ask(self, method: str, path: tuple[str, ...], **what: Any) -> Any:
        where = "/" + "/".join(quote(part, safe="") for part in path)
        try:
            answer = self._client.request(method, where, **what)
        except httpx.ConnectError as error:
            raise Away(
                f"{self._name} does not answer at {self._url}: see whether it runs, and whether the address "
                "is right."
            ) from error
        except httpx.TimeoutException as error:
            unsure = (
                "" if method == "GET" else " It may have been done all the same: look before you repeat it."
            )
            raise Away(
                f"{self._name} at {self._url} did not answer within {self._timeout_s:g} s.{unsure}"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Away(
                f"{self._name} at {self._url} cannot be asked: {error or type(error).__name__}."
            ) from error
        if answer.is_success:
            with contextlib.suppress(ValueError):
                return answer.json()
            raise Unusable(f"{self._name} at {self._url} answers no JSON: is that its address?")
        raise Refused(self._sentence(answer))

    def _sentence(self, answer: httpx.Response) -> str:
        problem = None
        with contextlib.suppress(ValueError, AttributeError):
            problem = answer.json().get("problem")
        said = " ".join(str(problem).split()).rstrip(".") if problem else ""
        match answer.status_code:
            case 401:
                return (
                    f"{self._name} does not know who you are ({said or 'no reason given'}): "
                    f"set {TOKEN} or {TOKEN_FILE}."
                )
            case 403:
                return f"You may not do that: {said or 'your role does not reach'}."
            case 404 if not said:
                return f"{self._name} at {self._url} does not know that: is it the address of {self._name}?"
            case status if status >= 500:
                return f"{self._name} cannot do it now ({status}): {said or 'look at its log'}."
        return f"{self._name} refuses: {said or answer.text[:_SHOWN] or answer.status_code}."
