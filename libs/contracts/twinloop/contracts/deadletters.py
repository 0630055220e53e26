"""Why input is refused, and the record that keeps it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from twinloop.contracts.times import Instant


class Reason(StrEnum):
    """Every reason for which input goes to `dead-letters`. A duplicate is dropped and counted instead."""

    UNDECODABLE = "undecodable"
    DATA_BEFORE_BIRTH = "data_before_birth"
    UNKNOWN_ALIAS = "unknown_alias"
    NON_FINITE = "non_finite"
    WRONG_SIGNAL_COUNT = "wrong_signal_count"
    UNKNOWN_SIGNAL_SET = "unknown_signal_set"
    TOO_OLD = "too_old"
    IN_FUTURE = "in_future"
    OUT_OF_ORDER = "out_of_order"
    VIN_IN_CLEAR = "vin_in_clear"
    UNPROCESSABLE = "unprocessable"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Refused input with its original bytes (`payload`, base64 in JSON) and the reason.

    `source` says where it came from: an MQTT topic, `http`, or a Kafka `topic/partition/offset`.
    Dead letters must not leak what pseudonyms protect: the one exception to "original bytes". A VIN inside
    `payload` is replaced by its pseudonym, a vehicle's document is written anew without what could be one,
    and where that cannot be told `payload` is empty and `detail` says so.
    """

    event_id: str
    reason: Reason
    detail: str
    source: str
    at: Instant
    service: str
    asset: str = ""
    payload: bytes = b""
