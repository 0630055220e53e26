"""Structured logs: JSON in containers, readable on a terminal.

A line about an event carries its `trace_id`: the same in every service, for all that follows from a frame.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from enum import StrEnum

import structlog


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class Sparing(logging.Filter):
    """Of lines that say the same, lets `per_s` a second through; the next one tells how many were left out.

    A flood of trouble, such as a publisher gone wrong, must not become a flood of lines. Lines say the same
    when their event does: it is a constant, what differs are the facts. Whoever asked for DEBUG gets all.
    """

    def __init__(self, per_s: int, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._per_s = per_s
        self._now_s = now_s
        self._seen: dict[str, tuple[int, int]] = {}  # by event: in which second, how often

    def __call__(
        self, _: object, level: str, facts: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        """The processor of our own lines."""
        if level != "debug":
            left_out = self._left_out(str(facts["event"]))
            if left_out is None:
                raise structlog.DropEvent
            if left_out:
                facts["left_out"] = left_out
        return facts

    def filter(self, record: logging.LogRecord) -> bool:
        """The filter of lines of libraries; ours have passed the processor."""
        return not isinstance(record.msg, str) or self._left_out(record.msg) is not None

    def _left_out(self, event: str) -> int | None:
        """How many were left out before this one; `None` when it is left out, too."""
        second = int(self._now_s())
        if len(self._seen) > _KINDS:  # a library that writes its facts into its events
            self._seen.clear()
        since, count = self._seen.get(event, (second, 0))
        if second == since:
            self._seen[event] = second, count + 1
            return None if count >= self._per_s else 0
        self._seen[event] = second, 1
        return max(0, count - self._per_s)


_PER_S = 50
_KINDS = 1000


def configure(service: str, log_format: LogFormat | None, level: str) -> None:
    """Send every log line of this process to stderr, with time, level and service.

    `log_format` `None`: readable where stderr is a terminal, else JSON.
    """
    terminal = sys.stderr.isatty()
    if log_format is None:
        log_format = LogFormat.CONSOLE if terminal else LogFormat.JSON
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(colors=terminal)
    )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    sparing = Sparing(_PER_S)
    structlog.configure(
        processors=[sparing, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    handler.addFilter(sparing)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("aiokafka", "asyncua", "uvicorn.access", "httpx", "faust", "mode"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    structlog.contextvars.bind_contextvars(service=service)


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of a module: `log = logger(__name__)`; events are short constants, facts are keywords."""
    bound: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return bound
