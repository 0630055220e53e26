"""What can go wrong while a model is made, or what it was worth is counted."""

from __future__ import annotations


class TrainerError(Exception):
    """Root of every error raised by `twinloop.trainer`."""


class TooFewWindows(TrainerError):
    """Raised when the recording does not hold as many windows as were asked for, in the time allowed.

    Operator action: see whether the asset runs and whether the historian keeps up, or ask for fewer.
    """


class UnfitData(TrainerError):
    """Raised when no model can be fitted on the windows: they are not alike, or hold what is no number.

    Operator action: record the asset again while it is healthy.
    """


class BadRecording(TrainerError):
    """Raised when a file is not what it should be; the text names file and line.

    Operator action: name the folder that holds the recording, or mend the file.
    """


class NotAsFitted(TrainerError):
    """Raised when onnxruntime answers otherwise than a model was fitted or trained. No artefact is written.

    Operator action: tell whoever mends the export; the version that serves goes on.
    """


class BadModule(TrainerError):
    """Raised when a module of one's own cannot be used: the text says what its file or class did.

    Operator action: mend the file; `twinloop.trainer.training.detectors.own` says what is asked of it.
    """


class NotExported(TrainerError):
    """Raised when a model has no form in ONNX that every Triton here can read; the text says what has none.

    Operator action: write that part of the module with other operations.
    """


class NoTorch(TrainerError):
    """Raised when a model is to be trained in an environment without torch.

    Operator action: run `make install-train`, and train with `twinloop train` or `.venv-train/bin/python`.
    """


class AlreadyThere(TrainerError):
    """Raised when the folder that an artefact is to be written to is there.

    Operator action: name another folder, or remove it.
    """


class NotScored(TrainerError):
    """Raised when verdicts are missing, or cannot be read: the detector has not judged everything in the time
    allowed, or Kafka is away.

    Operator action: look at the detector's log and at `dead-letters`.
    """


class TrialsNotFound(TrainerError):
    """Raised when the recording does not hold the parts of a commissioning plan, in the time allowed.

    Operator action: weld the plan's trials at the asset with the loop open, and see whether the historian
    keeps up.
    """


class PoorTrials(TrainerError):
    """Raised when trials cannot tell a process model's parameters apart; the text says what to weld.

    Operator action: add these trials to the plan and weld it again.
    """


class NotCalibrated(TrainerError):
    """Raised when a process model's own intervals do not hold what they promise on held-out parts.

    Operator action: look for parts in the trials that were not welded as planned (a gap, a dirty window), and
    weld the plan again. No model was written; the twin goes on with the version that it has.
    """
