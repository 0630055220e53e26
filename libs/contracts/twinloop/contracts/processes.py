"""A process model as a file: the trainer identifies it, the twin loads it.

    <folder>/<process>/<version>/model.onnx
    <folder>/<process>/<version>/card.json      its `ProcessCard`

A version is written aside and renamed: what is there is complete, and never changes.

The ONNX file takes `power_w`, `focus_mm`, `transmission` and `focus_error_mm`, float64 [N] each: what is set
on the machine, and the state of the process (what the window lets through, 1 when clean; where the focus lies
when it is set to 0). It gives `energy` (delivered, 1 at the reference power), `depth_mm`,
`window_temperature_c`, `back_reflection`, `plasma`, `resistance_uohm` and `resistance_variance` (of a single
part, with what is not known of the parameters), float64 [N] each, and `resistance_draws_uohm` float64 [N, M]:
the resistance under M draws from the distribution of the parameters.
"""

from __future__ import annotations

from typing import Final

import msgspec

INPUTS: Final = ("power_w", "focus_mm", "transmission", "focus_error_mm")
OUTPUTS: Final = (
    "energy",
    "depth_mm",
    "window_temperature_c",
    "back_reflection",
    "plasma",
    "resistance_uohm",
    "resistance_variance",
    "resistance_draws_uohm",
)


class Between(msgspec.Struct, frozen=True):
    """From `low` to `high`, both included."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` is inside. Not a number never is."""
        return self.low <= value <= self.high


class Validity(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model was identified; outside, it says nothing.

    `distance_mm` is that of the focus from the surface: setpoint plus error. `energy` is 1 at the reference
    power.
    """

    power_w: Between
    focus_mm: Between
    distance_mm: Between
    transmission: Between
    energy: Between


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How a signal's mean over a part scatters about the model: `part` from part to part, and `model` what
    stays however many parts are averaged, because the model's form is not that of the process."""

    part: float
    model: float


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """Records that the model rests on, by partition of a topic; both offsets included."""

    topic: str
    partition: int
    first_offset: int
    last_offset: int
    records: int


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the held-out `parts` measured a resistance within their own 95 % interval."""

    parts: int
    inside: int

    @property
    def share(self) -> float:
        """Of all held-out parts."""
        return self.inside / self.parts


class ProcessCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a process model is, and what it rests on.

    `energy_sigma`: scatter of the energy's logarithm between parts. `resistance_sigma_uohm`: of the
    measurement. `spreads` by signal: depth_mm, window_temperature_c, back_reflection, plasma. `covariance` in
    the order of `parameters`. `digest`: SHA-256 of the ONNX file, in hex.
    """

    process: str
    version: int
    asset: str
    form: str
    reference_power_w: float
    parameters: dict[str, float]
    covariance: tuple[tuple[float, ...], ...]
    validity: Validity
    energy_sigma: float
    resistance_sigma_uohm: float
    spreads: dict[str, Spread]
    parts: int
    trials: int
    coverage: Coverage
    data: tuple[Used, ...]
    digest: str
