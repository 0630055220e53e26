"""Telemetry as JSON, from vehicles over MQTT and from anyone over HTTP. Pure.

    {"vehicle": "<pseudonym>",  (or "asset": "acme.berlin.packs.line1.press1"; over MQTT the topic says it)
     "signal_set": "vehicle.battery.v1", "sequence": 17,
     "first_at": "2025-11-02T10:00:00Z", "period_us": 1000000,
     "signals": {"Vehicle.Powertrain.TractionBattery.CurrentCurrent": [12.5, 12.4], ...}}

Instead of `signals` there may be `samples`: the same numbers packed, for whoever sends many. They are
little-endian float32, row by row, a row being one sample of every signal in the order of the signal set, in
base64 (RFC 4648, 4): a minute of 98 signals is 31 kB instead of 60 or more, and is read twenty times as fast.

JSON has no NaN: a payload that has one, or a number that no 64-bit float holds, is undecodable.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from twinloop.contracts.deadletters import Reason
from twinloop.contracts.times import unix_ns
from twinloop.ingest.errors import Refused
from twinloop.ingest.normalize import Normalized, frame_of, stack, unpack
from twinloop.ingest.pseudonyms import contains_vin, is_pseudonym, may_hold_vin, plain, spells_vin
from twinloop.ingest.signal_sets import Kind, SignalSet, SignalSets
from twinloop.ingest.withhold import said

VEHICLE: Final = "vehicle."
_ASSET: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", re.ASCII)

Instant = Annotated[datetime, msgspec.Meta(tz=True, description="ISO 8601 with an offset or Z")]
Text = Annotated[str, msgspec.Meta(max_length=256)]


class TelemetryJson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One frame: consecutive samples of every signal of a signal set.

    Either `signals` or `samples` (packed, see above) holds them. `sequence` counts the frames of one asset
    and signal set, +1 each; `period_us` is the time between two samples; `observed_at` is when the frame was
    complete at its source (when not given: the last sample).
    """

    asset: Text = ""
    vehicle: Text = ""
    signal_set: Text
    sequence: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    first_at: Instant
    period_us: Annotated[int, msgspec.Meta(ge=0, le=86_400_000_000)]
    signals: dict[str, list[float]] | None = None
    samples: bytes | None = None
    observed_at: Instant | None = None
    part_id: Text = ""


_DECODER = msgspec.json.Decoder(TelemetryJson)


def parse(payload: bytes) -> TelemetryJson:
    """The struct in `payload`. Raises `Refused` (undecodable)."""
    try:
        return _DECODER.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(Reason.UNDECODABLE, f"no telemetry in JSON: {said(error)}") from error


def source_of(telemetry: TelemetryJson, vehicle: str | None = None) -> tuple[str, Kind]:
    """The asset that sent it, and what kind of source that is.

    `vehicle`: the pseudonym in the MQTT topic. Raises `Refused`: `vin_in_clear` for a VIN instead of a
    pseudonym, or a vehicle's part id that is one or nearly one; `unprocessable` when it does not say
    unambiguously who it is.
    """
    asset = telemetry.asset
    in_asset = asset.removeprefix(VEHICLE) if asset.startswith(VEHICLE) else ""
    named = {name for name in (vehicle, telemetry.vehicle, in_asset) if name}
    if any(contains_vin(name.encode()) for name in named):
        raise Refused(Reason.VIN_IN_CLEAR, "a VIN where a pseudonym is expected")
    if len(named) > 1 or bool(named) == bool(asset and not in_asset):
        raise Refused(Reason.UNPROCESSABLE, "it must name one vehicle or one asset, and not two of them")
    for pseudonym in named:
        if not is_pseudonym(pseudonym):
            raise Refused(Reason.UNPROCESSABLE, "no pseudonym: 32 hexadecimal digits, as ingest gave it")
        part = plain(telemetry.part_id.encode())
        if may_hold_vin(part) or spells_vin(part):
            raise Refused(Reason.VIN_IN_CLEAR, "part_id: a VIN in clear, or nearly one")
        return VEHICLE + pseudonym, Kind.VEHICLE
    if not _ASSET.fullmatch(asset):
        raise Refused(Reason.UNPROCESSABLE, f"{asset[:80]!r} is no asset path such as acme.berlin.press1")
    return asset, Kind.FACTORY


def normalized(telemetry: TelemetryJson, asset: str, kind: Kind, sets: SignalSets) -> Normalized:
    """The frame in `telemetry`. Raises `Refused`."""
    signal_set = sets.find(telemetry.signal_set, kind)
    samples = _samples(telemetry, signal_set)
    first_at_ns, period_ns = unix_ns(telemetry.first_at), telemetry.period_us * 1000
    last_at_ns = first_at_ns + max(0, samples.shape[0] - 1) * period_ns
    observed_at = telemetry.observed_at
    frame = frame_of(
        asset=asset,
        signal_set=signal_set,
        sequence=telemetry.sequence,
        first_at_ns=first_at_ns,
        period_ns=period_ns,
        samples=samples,
        observed_at_ns=last_at_ns if observed_at is None else unix_ns(observed_at),
        part_id=telemetry.part_id,
    )
    return Normalized(frame, kind)


def _samples(telemetry: TelemetryJson, signal_set: SignalSet) -> NDArray[np.float32]:
    if telemetry.samples is not None and telemetry.signals is None:
        return unpack(signal_set, telemetry.samples)
    if telemetry.signals is not None and telemetry.samples is None:
        return stack(signal_set, telemetry.signals)
    raise Refused(Reason.UNPROCESSABLE, "it must have either signals or samples, and not both")
