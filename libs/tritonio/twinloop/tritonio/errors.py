"""What can go wrong with Triton, named by what it means for the caller."""

from __future__ import annotations


class TritonError(Exception):
    """Root of every error raised by `twinloop.tritonio`."""


class TritonUnavailable(TritonError):
    """Raised when the server does not answer. Try again.

    Operator action: see whether Triton runs, and what it is busy with.
    """


class DeadlineExceeded(TritonUnavailable):
    """Raised when the server does not answer within the deadline. Try again, an inference with fewer windows.

    Operator action: where the probe of the model is late too, it hangs, or others take its time.
    """


class ModelUnavailable(TritonError):
    """Raised when the server answers but does not serve this model version.

    Operator action: load the version, or route to one that is loaded; Triton's log says why a load failed.
    """


class InferenceFailed(TritonError):
    """Raised when the model itself failed: its backend raised, died, or gave numbers that are none.

    Operator action: where the probe of the model fails too, load the model again; otherwise the input is
    one that the model cannot take.
    """


class ContractMismatch(TritonError):
    """Raised when a model is not what its contract says; the text lists every difference.

    Operator action: publish the version anew from one training run, model and contract together.
    """


class VersionTaken(TritonError):
    """Raised when another model has been published under this version: versions never change.

    Operator action: publish under the next version.
    """
