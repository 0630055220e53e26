"""A minute of a vehicle's day: current, voltages of the cell groups, temperatures at 1 Hz. Pure.

    V_i = OCV(SoC) − I·(R_cell,i + R_j,i) − V_RC        C_th·dT_j/dt = I²·R_j − (T_j − T_amb)/R_th

Illustrative, not validated. The cells scatter by 3 %, so what one joint adds drowns in what the cells
differ by; noise is 1.5 mV and the converter's step 1 mV. V_RC and OCV are the pack's: it is balanced.
A vehicle sends one such minute a day, one in which the current moved: months of driving are then a few
thousand samples a vehicle, in event time, and nothing else of its day is simulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SECONDS: Final = 60
CELL_OHM: Final = 1.0e-3
CELL_SPREAD: Final = 0.03
NOISE_V: Final = 1.5e-3
LSB_V: Final = 1.0e-3
NOISE_K: Final = 0.3
R_TH_K_PER_W: Final = 2.5
C_TH_J_PER_K: Final = 120.0
CURRENT_SD_A: Final = 70.0
"""How much the current moves in a minute that is sent: ΔR is then known to 2.6 to 3.0 µΩ."""

_RC_OHM: Final = 0.5e-3
_RC_S: Final = 20.0
_CAPACITY_AS: Final = 150 * 3600.0
_MEMORY: Final = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Snippets:
    """One minute of each of N vehicles.

    `current_a` and `soc_percent` [N, SECONDS]; `voltage_v` and `temperature_c` [N, SECONDS, groups], with
    noise, as sensors give them. Temperatures are those of the joints.
    """

    current_a: Floats
    soc_percent: Floats
    voltage_v: Floats
    temperature_c: Floats

    def windows(self) -> NDArray[np.float32]:
        """Current, then the voltages: float32 [N, SECONDS, 1 + groups], as ΔR is computed from."""
        return np.concatenate([self.current_a[:, :, None], self.voltage_v], axis=2).astype(np.float32)

    def frames(self, distance_km: Floats) -> NDArray[np.float32]:
        """The same with the odometer behind: float32 [N, SECONDS, 2 + groups], the signal set
        `vehicle.cells.v1`. `distance_km` [N] is read at the end of the minute."""
        odometer = np.broadcast_to(distance_km[:, None, None], (*self.current_a.shape, 1))
        return np.concatenate([self.windows(), odometer.astype(np.float32)], axis=2)


def cells(generator: np.random.Generator, packs: int, groups: int) -> Floats:
    """The resistance of every cell, in ohm, [packs, groups]."""
    return CELL_OHM * (1 + CELL_SPREAD * generator.standard_normal((packs, groups)))


def currents(generator: np.random.Generator, count: int) -> Floats:
    """Accelerating, cruising, braking: current in ampere, [count, SECONDS], positive when discharging.

    An AR(1) series around what cruising takes; how far it moves differs by 7 % from minute to minute.
    """
    steps = generator.standard_normal((count, SECONDS))
    series = np.empty_like(steps)
    series[:, 0] = steps[:, 0]
    for second in range(1, SECONDS):
        series[:, second] = _MEMORY * series[:, second - 1] + np.sqrt(1 - _MEMORY**2) * steps[:, second]
    series -= series.mean(axis=1, keepdims=True)
    series /= series.std(axis=1, keepdims=True)
    moved = CURRENT_SD_A * generator.uniform(0.93, 1.07, (count, 1))
    cruising = generator.uniform(30.0, 70.0, (count, 1))
    return np.asarray(cruising + moved * series)


def open_circuit_v(soc_percent: Floats) -> Floats:
    """Voltage of a cell at rest: 3.0 V empty, 4.15 V full, flat between, steep at the ends."""
    x = np.clip(soc_percent / 100, 0.0, 1.0)
    return np.asarray(3.45 + 0.55 * x + 0.15 * np.tanh(12 * (x - 1)) + 0.45 * (np.tanh(12 * x) - 1) + 0.15)


def drive(
    generator: np.random.Generator,
    cell_ohm: Floats,
    joint_ohm: Floats,
    *,
    ambient_c: Floats | float = 20.0,
    soc_percent: Floats | float = 60.0,
) -> Snippets:
    """A minute of N vehicles whose cells and joints have these resistances, each [N, groups].

    `ambient_c` and `soc_percent` are one or [N]. A joint begins the minute as warm as its root mean square
    current would have made it.
    """
    count, groups = joint_ohm.shape
    current, soc, common = _pack(generator, count, soc_percent)
    warmth = np.square(current).mean(axis=1)[:, None] * joint_ohm * R_TH_K_PER_W
    ambient = np.broadcast_to(np.reshape(ambient_c, (-1, 1)), (count, groups))
    voltage = np.empty((count, SECONDS, groups))
    temperature = np.empty((count, SECONDS, groups))
    for second in range(SECONDS):
        i = current[:, second]
        voltage[:, second] = common[:, second, None] - i[:, None] * (cell_ohm + joint_ohm)
        warmth = warmth + (np.square(i)[:, None] * joint_ohm - warmth / R_TH_K_PER_W) / C_TH_J_PER_K
        temperature[:, second] = ambient + warmth
    voltage += NOISE_V * generator.standard_normal(voltage.shape)
    temperature += NOISE_K * generator.standard_normal(temperature.shape)
    return Snippets(current, soc, np.round(voltage / LSB_V) * LSB_V, temperature)


def frames(
    generator: np.random.Generator, group_ohm: Floats, distance_km: Floats, soc_percent: Floats | float = 60.0
) -> NDArray[np.float32]:
    """`drive(...).frames(distance_km)` without temperatures, which `vehicle.cells.v1` has not: a fifth of the
    work. `group_ohm` [N, groups] is that of the cells with their joints."""
    count, groups = group_ohm.shape
    current, _, common = _pack(generator, count, soc_percent)
    made = np.empty((count, SECONDS, 2 + groups), np.float32)
    voltage = made[:, :, 1:-1]
    generator.standard_normal(out=(noise := np.empty(voltage.shape, np.float32)), dtype=np.float32)
    np.multiply(current[:, :, None], -group_ohm[:, None, :], out=voltage, casting="same_kind")
    voltage += common[:, :, None].astype(np.float32)
    voltage += np.float32(NOISE_V) * noise
    np.round(voltage / np.float32(LSB_V), out=voltage)
    voltage *= np.float32(LSB_V)
    made[:, :, 0] = current
    made[:, :, -1] = distance_km[:, None]
    return made


def measured_delta_uohm(minutes: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """What the pack line's tester makes of `frames` [N, SECONDS, 2 + groups]: every group's ΔR [N, groups],
    and its standard error [N], in µΩ.

    −slope of (V_i − median V) against I, by least squares; the noise of its sensors is known.
    """
    current, voltage = minutes[:, :, 0].astype(np.float64), minutes[:, :, 1:-1]
    groups = voltage.shape[2]
    low, high = (groups - 1) // 2, groups // 2 + 1
    middle = np.partition(voltage, [low, high - 1], axis=2)[:, :, low:high].mean(axis=2, keepdims=True)
    moved = current - current.mean(axis=1, keepdims=True)
    sxx = np.square(moved).sum(axis=1)
    slope = np.einsum("nt,ntg->ng", moved.astype(np.float32), voltage - middle) / sxx[:, None]
    return -1e6 * slope.astype(np.float64), 1e6 * np.hypot(NOISE_V, LSB_V / np.sqrt(12)) / np.sqrt(sxx)


def _pack(
    generator: np.random.Generator, count: int, soc_percent: Floats | float
) -> tuple[Floats, Floats, Floats]:
    """Current, state of charge and the voltage that all groups share, each [count, SECONDS]."""
    current = currents(generator, count)
    drawn = np.cumsum(current, axis=1) / _CAPACITY_AS * 100
    soc = np.broadcast_to(np.reshape(soc_percent, (-1, 1)), (count, 1)) - drawn
    common = open_circuit_v(soc)
    polarised = np.zeros(count)
    for second in range(SECONDS):
        polarised = polarised + (_RC_OHM * current[:, second] - polarised) / _RC_S
        common[:, second] -= polarised
    return current, soc, common
