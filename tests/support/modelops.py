"""Modelops without Kafka and Triton: its desk, its staging and its API over memory and a folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import onnxruntime
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from support.artefacts import SIGNAL_SET, artefact_of
from support.twins import FakeAudit
from twinloop.contracts.events import Verdict
from twinloop.contracts.models import EVERY_MODEL, ModelContract, ModelNamespace, ModelRoute
from twinloop.modelops.api import make_api
from twinloop.modelops.desk import Desk
from twinloop.modelops.golden import Bounds
from twinloop.modelops.loading import Keeper
from twinloop.modelops.metrics import Metrics
from twinloop.modelops.routes import MemoryRoutes
from twinloop.modelops.shelf import Shelf
from twinloop.modelops.staging import Demands, Staging
from twinloop.modelops.stand import Stand
from twinloop.modelops.trial import Limits
from twinloop.modelops.trials import Trials
from twinloop.modelops.uses import Uses
from twinloop.modelops.watch import Watch
from twinloop.runtime.clock import ManualClock
from twinloop.tritonio.artefact import Artefact
from twinloop.tritonio.fake import FakeTriton, Function
from twinloop.tritonio.repository import contracts, listed, publish
from twinloop.tritonio.server import Floats, Inference
from twinloop.trust.bearer import Access
from twinloop.trust.people import token_sha256

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PEOPLE = {"vera": "viewer", "olaf": "operator", "ella": "engineer", "dana": "data_scientist"}
"""People by name, with their roles; a name is the token, too."""


def function_of(contract: ModelContract, file: bytes) -> Function:
    """An ONNX file as the fake server wants it."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]

    def function(windows: Floats, memory: Floats | None = None) -> Inference:
        given = {"windows": windows} if memory is None else {"windows": windows, "memory": memory}
        said = dict(zip(names, session.run(names, given), strict=True))
        return Inference(said["score"], said["features"], said["deviations"], said.get("next_memory"))

    return function


class DiskTriton(FakeTriton):
    """The fake, which loads what a repository on disk lists, as the real one does. `twisted` are models that
    it serves otherwise than they are: by name, what is added to deviations."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.twisted: dict[str, float] = {}
        self.loads: list[str] = []

    async def load(self, model: str) -> None:
        """See `InferenceServer`."""
        self.loads.append(model)
        there = listed(self.root, model)
        for version in set(self._published.get(model, {})) - set(there):
            self.withdraw(model, version)
        for one in contracts(self.root, model):
            if one.version in there and one.version not in self._published.get(model, {}):
                file = (self.root / model / str(one.version) / "model.onnx").read_bytes()
                self.publish(one, self._twist(model, function_of(one, file)))
        await super().load(model)

    def restart(self) -> None:
        """As a server that has been killed and started, and loads nothing by itself."""
        self._loaded.clear()
        self._used.clear()

    def _twist(self, model: str, function: Function) -> Function:
        def twisted(*given: Floats) -> Inference:
            answer = function(*given)
            by = self.twisted.get(model, 0.0)
            return Inference(answer.score, answer.features, answer.deviations + by, answer.memory)

        return twisted


@dataclass
class Seconds:
    """A clock that goes forward when told, and by `each` whenever it is asked."""

    at: float = 100.0
    each: float = 0.0

    def __call__(self) -> float:
        self.at += self.each
        return self.at


class Ops:
    """All of modelops but its processes."""

    def __init__(
        self, folder: Path, limits: Limits | None = None, names: ModelNamespace = EVERY_MODEL
    ) -> None:
        self.root = folder / "models"
        self.server = DiskTriton(self.root)
        self.routes = MemoryRoutes()
        self.clock = ManualClock(NOW)
        self.seconds = Seconds()
        self.latency = Seconds()
        self.audit = FakeAudit()
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.shelf = Shelf(self.root, names=names)
        self.uses = Uses()
        self.keeper = Keeper(self.shelf, self.server, self.uses, self.metrics)
        self.trials = Trials(self.uses, (limits or Limits()).block)
        self.desk = Desk(
            self.routes,
            self.trials,
            self.shelf,
            self.server,
            self.keeper,
            self.uses,
            self.audit,
            self.clock,
            self.metrics,
            self.seconds,
            quiet_s=10.0,
            retire_s=45.0,
        )
        self.watch = Watch(self.routes, self.trials, self.desk, self.keeper, limits or Limits(), self.metrics)
        self.staging = Staging(
            self.shelf,
            self.server,
            self.keeper,
            Demands(Bounds(60.0, 2 * 1024**3), 1.0),
            self.metrics,
            self.latency,
        )
        people = folder / "people.toml"
        people.write_text(
            "".join(
                f'[[people]]\nname = "{name}"\nrole = "{role}"\ntoken_sha256 = "{token_sha256(name)}"\n'
                for name, role in PEOPLE.items()
            )
        )
        self.api: FastAPI = make_api(
            Stand(self.routes, self.shelf, self.server, self.watch),
            self.desk,
            self.staging,
            Access(people, None),
            self.clock,
            self.metrics,
            upload_bytes=1_000_000,
            names=names,
        )

    async def published(self, *artefacts: Artefact) -> list[ModelContract]:
        """Versions that came without staging, and are served."""
        made = []
        for number, one in enumerate(artefacts, 1):
            contract = ModelContract(
                **{
                    **{name: getattr(one.contract, name) for name in one.contract.__struct_fields__},
                    "version": number,
                }
            )
            publish(self.root, contract, one.onnx)
            made.append(contract)
        for model in {one.model for one in made}:
            await self.server.load(model)
        return made

    async def two(self, hop: int = 1) -> tuple[ModelContract, ModelContract]:
        """Two versions of one model; the first serves."""
        first, second = await self.published(*(artefact_of("level", one, hop=hop) for one in (1.0, 2.0)))
        await self.desk.promote(None, ("level", 1), "person:dana", "the first")
        return first, second

    async def look(self, seconds: float = 2.0) -> None:
        """Time passes, and Triton is looked at."""
        self.seconds.at += seconds
        self.clock.advance(seconds)
        await self.keeper.look(lambda: self.routes.known, self.seconds())

    @property
    def route(self) -> ModelRoute:
        """That of the signal set."""
        return self.routes.routes[SIGNAL_SET]


def verdict(
    contract: ModelContract, sequence: int, anomalous: bool, at: datetime, **other: object
) -> Verdict:
    """What a detector says of a window."""
    fields: dict[str, object] = {
        "event_id": f"{contract.model}-{contract.version}-{sequence}",
        "asset": "acme.weld1",
        "at": at,
        "observed_at": at,
        "trace_id": "0" * 32,
        "signal_set": contract.signal_set,
        "part_id": "",
        "sequence": sequence,
        "row": 3,
        "score": 2.0 if anomalous else 0.0,
        "threshold": contract.threshold,
        "anomalous": anomalous,
        "model": contract.model,
        "model_version": contract.version,
        "input_digest": "",
    }
    return Verdict(**{**fields, **other})  # type: ignore[arg-type]
