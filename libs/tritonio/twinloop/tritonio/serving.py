"""How much of one Triton each model may take, and how a GPU runs it: the shape of `serving.toml`. Pure.

engine_cache = "/engines"     # GPU: a folder in Triton's container for what TensorRT has built

[default]                     # of every model, as far as its own table does not say otherwise
instances = 1

[models.cells]                # of one model, by its name in the repository
priority = 3
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from twinloop.runtime.tables import Table
from twinloop.tritonio.promise import NAME
from twinloop.tritonio.server import MAX_BATCH


class Platform(StrEnum):
    """What runs the models: the Python backend with onnxruntime, or onnxruntime with TensorRT on a GPU."""

    CPU = "cpu"
    GPU = "gpu"


CPU = Platform.CPU
GPU = Platform.GPU


class TensorRT(StrEnum):
    """How precisely TensorRT computes a model, or that onnxruntime's own CUDA kernels run it."""

    FP32 = "fp32"
    FP16 = "fp16"
    OFF = "off"


class Serving(Table):
    """Of one model. Everything is of each of its versions: two that are loaded take twice as much.

    `instances`: how many batches are run at once; on a CPU each by a process of one thread, which is all that
    the version can take. `priority`, on a CPU: 1 comes before 2, and 2 before 3, where models compete.

    On a GPU: `tensorrt`; `workspace_bytes` of its memory are TensorRT's for temporaries; `batch` windows are
    what its kernels are chosen for, and are not kept waiting for more; fewer wait `delay_s`.
    """

    instances: Annotated[int, Field(ge=1, le=64)] = 1
    priority: Annotated[int, Field(ge=1, le=3)] = 1
    tensorrt: TensorRT = TensorRT.FP32
    workspace_bytes: Annotated[int, Field(ge=2**20, le=2**40)] = 2**30
    batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 64
    delay_s: Annotated[float, Field(ge=0, le=1)] = 0.0005


class ServingTable(Table):
    """The whole file."""

    engine_cache: Annotated[str | None, Field(pattern=r"^/.+")] = None
    default: Serving = Serving()
    models: Mapping[Annotated[str, Field(pattern=f"^{NAME}$")], Serving] = Field(default_factory=dict)

    def of(self, model: str) -> Serving:
        """What holds for `model`."""
        own = self.models.get(model)
        if own is None:
            return self.default
        return self.default.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})


@dataclass(frozen=True, slots=True)
class Target:
    """The Triton that a repository is for."""

    platform: Platform = CPU
    table: ServingTable = field(default_factory=ServingTable)


DEFAULT = Target()
