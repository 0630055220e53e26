"""What can be wrong with a Sparkplug message, named by meaning."""

from __future__ import annotations

from twinloop.sparkplug.nodes import NodeId


class SparkplugError(Exception):
    """Root of every error raised by `twinloop.sparkplug`.

    `rebirth_of` is the edge node that should be asked to send its births again, or `None` where that
    would not help.
    """

    def __init__(self, detail: str, rebirth_of: NodeId | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.rebirth_of = rebirth_of


class Undecodable(SparkplugError):
    """Raised when a topic is outside of the Sparkplug namespace, or a payload breaks the wire format.

    Operator action: look at the original bytes in the dead letter and mend their publisher.
    """


class DataBeforeBirth(SparkplugError):
    """Raised when DATA, or a device's BIRTH, arrives before the BIRTH that says what it means.

    Operator action: none when it is rare (the host joined late and asks for a rebirth); when it goes on,
    check that the edge node answers `Node Control/Rebirth`.
    """


class UnknownAlias(SparkplugError):
    """Raised when a metric's alias, or its name, is not in the BIRTH of its edge node or device.

    Operator action: as for `DataBeforeBirth`; when it goes on, the edge node's BIRTH is incomplete.
    """
