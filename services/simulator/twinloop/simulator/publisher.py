"""How an edge node publishes when it is unfriendly: messages twice, late, in the wrong order, or cut off.

    outbox, to_send = publish(outbox, faults, number, message)

Sequence numbers are given to messages before they come here, so a message that is overtaken shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from twinloop.simulator.faults import Duplicate, Fault, Garbled, Late, Reordered
from twinloop.sparkplug import Message


@dataclass(frozen=True, slots=True)
class Outbox:
    """Messages held back, each with the weld after whose message it goes out."""

    held: tuple[tuple[int, Message], ...] = ()


def publish(
    outbox: Outbox, faults: Sequence[Fault], number: int, message: Message
) -> tuple[Outbox, list[Message]]:
    """What to send at weld `number`, whose own message is `message`."""
    copies, hold_until = 1, number
    for fault in faults:
        if not fault.active(number):
            continue
        match fault:
            case Duplicate() if _due(fault.start, fault.every, number):
                copies = 2
            case Late() if _due(fault.start, fault.every, number):
                hold_until = number + fault.by
            case Reordered() if _due(fault.start, fault.every, number):
                hold_until = number + 1
            case Garbled() if _due(fault.start, fault.every, number):
                message = replace(message, payload=message.payload[: len(message.payload) // 2])
            case _:
                pass
    now = [message] * copies if hold_until == number else []
    held = outbox.held if now else (*outbox.held, *([(hold_until, message)] * copies))
    due = [one for until, one in held if until <= number]
    return Outbox(tuple(entry for entry in held if entry[0] > number)), [*now, *due]


def flush(outbox: Outbox) -> list[Message]:
    """What is still held back when a campaign ends."""
    return [message for _, message in outbox.held]


def _due(start: int, every: int, number: int) -> bool:
    return (number - start) % every == 0
