"""The topic `models`: what is in force, by scope, and the one way to change it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from twinloop.contracts.codec import Undecodable, decode, message
from twinloop.contracts.models import EVERY_MODEL, ModelNamespace, ModelRoute
from twinloop.contracts.topics import MODELS
from twinloop.modelops.errors import NotHere
from twinloop.runtime.kafka.clients import Publisher, follow
from twinloop.runtime.observability import logging

log = logging.logger(__name__)

SOURCE = "modelops"
_DEADLINE_S = 10.0
_LOOK_S = 0.02


class Routes(Protocol):
    """The routes; one writer at a time."""

    @property
    def known(self) -> Mapping[str, ModelRoute]:
        """What has been read so far."""
        ...

    async def current(self) -> Mapping[str, ModelRoute]:
        """All that there is now. Raises `NotHere` when it cannot be read in time, or `KafkaError`."""
        ...

    async def publish(self, route: ModelRoute) -> None:
        """Return once it is in force: acknowledged, and read back. Raises `NotHere`, or `KafkaError`; then it
        may be in force or not."""
        ...


class RouteTable:
    """The `Routes` in Kafka. `run` reads them, for as long as the others are used."""

    def __init__(self, client: AIOKafkaConsumer, out: Publisher, names: ModelNamespace = EVERY_MODEL) -> None:
        self._client = client
        self._names = names
        self._out = out
        self._routes: dict[str, ModelRoute] = {}
        self.caught_up = asyncio.Event()

    @property
    def known(self) -> Mapping[str, ModelRoute]:
        """See `Routes`."""
        return self._routes

    def problem(self) -> str | None:
        """Health check."""
        return None if self.caught_up.is_set() else "reading the topic of models"

    async def run(self, stopping: asyncio.Event) -> None:
        """Follow the topic until told to stop."""
        await follow(self._client, stopping, self._apply, self.caught_up)

    async def current(self) -> Mapping[str, ModelRoute]:
        """See `Routes`."""
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await self.caught_up.wait()
                ends = await self._client.end_offsets(self._client.assignment())
                while any([await self._client.position(one) < end for one, end in ends.items()]):
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise NotHere("the topic of models could not be read to its end: ask again") from None
        return dict(self._routes)

    async def publish(self, route: ModelRoute) -> None:
        """See `Routes`."""
        await self._out.publish([message(MODELS, route, source=SOURCE)])
        await self.current()
        if self._routes.get(route.scope) != route:
            raise NotHere(
                f"somebody else changed the route of {route.scope} at the same time: look what is in force"
            )

    def _apply(self, record: ConsumerRecord) -> None:
        """One that is no route is logged: the old one stays."""
        scope = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self._routes.pop(scope, None)
            return
        try:
            route: ModelRoute = decode(MODELS, record.value)
            if (model := self._names.foreign(route)) is not None:
                log.error(
                    "a route names another site's model; the one before it stays", scope=scope, model=model
                )
            else:
                self._routes[scope] = route
        except Undecodable as error:
            log.error("a route cannot be read; the one before it stays", scope=scope, problem=str(error))


class MemoryRoutes:
    """The `Routes` without Kafka, for tests. `published` are those of this process, in order."""

    def __init__(self) -> None:
        self.routes: dict[str, ModelRoute] = {}
        self.published: list[ModelRoute] = []

    @property
    def known(self) -> Mapping[str, ModelRoute]:
        """See `Routes`."""
        return self.routes

    async def current(self) -> Mapping[str, ModelRoute]:
        """See `Routes`."""
        return dict(self.routes)

    async def publish(self, route: ModelRoute) -> None:
        """See `Routes`."""
        self.published.append(route)
        self.routes[route.scope] = route
