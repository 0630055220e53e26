"""What settings are checked for, whatever they are of. Pure."""

from __future__ import annotations

from pydantic_core import PydanticCustomError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_address(value: str) -> str:
    """`host:port`, or a comma-separated list of them; raises `ValueError` with what is wrong."""
    for address in value.split(","):
        host, colon, port = address.strip().rpartition(":")
        if not (host and colon and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{address!r} is not host:port, such as 127.0.0.1:9092")
    return value


def refuse_together(problems: list[str]) -> None:
    """Raise what is wrong with several settings together, if anything is: a sentence each."""
    if problems:
        raise PydanticCustomError("together", "{said}", {"said": "\n  ".join(problems)})


def is_loopback(host: str | None) -> bool:
    """Whether what is sent to `host` does not leave this machine."""
    return (host or "").strip("[]") in _LOOPBACK
