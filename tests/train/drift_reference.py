"""The drift filter of one asset in plain numpy, row by row, in double precision: torch is held against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

W, CALIBRATION, SKIP, START, BLOCK, LAG, STRIDE = 10, 400, 30, 40, 60, 150, 10
INERTIA, SENSITIVITY, ONSET, CAP, RELIEF, HOLD, Z_CAP = 200.0, 1.2, 4.0, 16.0, 1.5, 0.2, 5.0


@dataclass
class Learnt:
    wander: Floats
    unit: Floats
    limit: float


def means(rows: Floats) -> Floats:
    """Of the last `W` rows; row k is the mean that ends at row k + W - 1."""
    return np.lib.stride_tricks.sliding_window_view(rows, W, axis=0).mean(axis=-1)


def noise_and_wander(rows: Floats) -> tuple[Floats, Floats]:
    """R and kappa, from the rows up to `CALIBRATION` or as many as there are."""
    level = means(rows[:CALIBRATION])[SKIP - W + 1 :]
    floor = 1e-10 * rows[0] ** 2 + 1e-14
    blocks = len(level) // BLOCK
    if not blocks:
        return floor, np.zeros(rows.shape[1])
    noise = level[: blocks * BLOCK].reshape(blocks, BLOCK, -1).var(axis=1).mean(axis=0) + floor
    sampled = level[::STRIDE]
    apart = sampled[LAG // STRIDE :] - sampled[: -LAG // STRIDE]
    if not len(apart):
        return noise, np.zeros(rows.shape[1])
    return noise, np.maximum((apart**2).mean(axis=0) / noise - 2, 0) / LAG


def norm(u: Floats) -> Floats:
    return np.sqrt((u**4).mean(axis=-1))


def learn(pool: Sequence[Floats]) -> Learnt:
    """From the first `CALIBRATION` rows of each of the `pool`."""
    known = [noise_and_wander(rows) for rows in pool]
    wander = np.median([kappa for _, kappa in known], axis=0)
    found = []
    for rows, (noise, own) in zip(pool, known, strict=True):
        kappa = np.maximum(wander, own)
        level = means(rows[:CALIBRATION])
        first = START - W + 1
        r, v = level[:first].mean(axis=0), 1 + kappa * START / 3
        for row, m in enumerate(level[first:]):
            v = v + kappa
            if row >= 60:
                found.append((m - r) / np.sqrt(noise * (v + 1)))
            gain = v / (v + INERTIA)
            r, v = r + gain * (m - r), v * (1 - gain)
    u = np.array(found)
    unit = np.quantile(np.abs(u), 0.95, axis=0)
    return Learnt(wander, unit, float(np.quantile(norm(u / unit), 0.99)))


def follow(learnt: Learnt, rows: Floats) -> tuple[Floats, Floats]:
    """Score [windows] and deviations [windows, signals] of one asset from its first row on."""
    scores, deviations = [], []
    r = v = np.zeros(rows.shape[1])
    total, on = 0.0, False
    limit = SENSITIVITY * learnt.limit
    for k, m in enumerate(means(rows)):
        end = k + W
        noise, own = noise_and_wander(rows[:end])
        kappa = np.maximum(learnt.wander, own)
        if end < START + 1:
            r = r + (m - r) / (k + 1)
            v = 1 + learnt.wander * START / 3
            u = np.zeros_like(m)
        else:
            v = v + kappa
            u = (m - r) / np.sqrt(noise * (v + 1)) / learnt.unit
            held = np.zeros(len(m), np.bool_)
            if end > CALIBRATION:
                step = min(norm(u) / limit, Z_CAP) - 1
                total = min(CAP, max(0.0, total + (step if step > 0 else RELIEF * step)))
                on = total > 0 if on else total > ONSET
                held = u**2 > (HOLD * limit if on else limit if total > ONSET / 2 else np.inf)
            else:
                u = np.zeros_like(u)
            gain = np.where(held, 0.0, v / (v + INERTIA))
            r, v = r + gain * (m - r), v * (1 - gain)
        scores.append(total + ONSET * on)
        deviations.append(u)
    return np.array(scores), np.array(deviations)
