"""From a model's answer to events: which windows are anomalous, and what is said of them. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import numpy as np

from twinloop.contracts.events import Anomaly, Verdict
from twinloop.contracts.ids import event_id
from twinloop.contracts.times import utc
from twinloop.detector.routes import Role
from twinloop.detector.sample import drawn
from twinloop.detector.taken import Pending
from twinloop.tritonio.server import Inference


def judge(
    pending: Pending, answer: Inference, at: datetime, *, score_every: int
) -> tuple[list[Anomaly], list[Verdict]]:
    """An `Anomaly` for each window whose score is above the contract's threshold, if its judge decides, and a
    `Verdict` for the sample, unless it only stands by. `answer` is to `pending.values`, window by window.

    In the sample is one of `score_every` windows (0: none), or of so many as the judge says if that is less:
    the same ones, whoever judges them and however often.
    """
    judge, contract = pending.judge, pending.judge.contract
    anomalous = answer.score > contract.threshold
    names = contract.features
    told = np.flatnonzero(anomalous).tolist() if judge.role is Role.DECIDES else []
    every = min((one for one in (score_every, judge.every) if one), default=0)
    anomalies = [
        Anomaly(
            **_identity("anomaly", pending, n, at),
            score=float(answer.score[n]),
            features=dict(zip(names, answer.features[n].tolist(), strict=True)),
            deviations=dict(zip(names, answer.deviations[n].tolist(), strict=True)),
        )
        for n in told
    ]
    verdicts = [
        Verdict(
            **_identity("verdict", pending, n, at),
            score=float(answer.score[n]),
            anomalous=bool(anomalous[n]),
            decides=judge.role is Role.DECIDES,
            features=dict(zip(names, answer.features[n].tolist(), strict=True)),
        )
        for n in _sample(pending, every)
    ]
    return anomalies, verdicts


def _sample(pending: Pending, every: int) -> list[int]:
    if pending.judge.role is Role.STANDS_BY:
        return []
    return drawn(pending.salts[pending.assets], pending.sequences, pending.rows, every)


def _identity(kind: str, pending: Pending, n: int, at: datetime) -> dict[str, Any]:
    """What anomalies and verdicts say alike. The id is of the window and the model version: judged again
    after a crash, the window has the same one."""
    frame, contract, row = pending.frame(n), pending.judge.contract, int(pending.rows[n])
    where = (frame.asset, frame.signal_set, frame.sequence, row, frame.first_at_ns)
    return {
        "event_id": event_id(kind, *where, contract.model, contract.version),
        "asset": frame.asset,
        "at": at,
        "observed_at": utc(frame.observed_at_ns),
        "trace_id": frame.trace_id,
        "caused_by": frame.event_id,
        "signal_set": frame.signal_set,
        "part_id": frame.part_id,
        "sequence": frame.sequence,
        "row": row,
        "threshold": contract.threshold,
        "model": contract.model,
        "model_version": contract.version,
        "model_digest": contract.digest,
        "input_digest": hashlib.sha256(pending.values[n].tobytes()).hexdigest(),
    }
