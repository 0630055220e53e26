"""Runs a model on its golden windows, in a process of its own: `python golden_process.py <folder> <limits>`.

Reads `model.onnx` and `golden.npz` in the folder; writes `answers.npz`, `zeros.npz`, what it answers to a
window of zeros, and `seconds.json`: how long requests of one window took. Whatever the model does, it does it
to this process, which ends by itself when it is over a limit. Imports none of this project: only numpy and
onnxruntime.
"""

# mypy: ignore-errors

import json
import resource
import signal
import sys
import time
from pathlib import Path


def main(folder: Path, wall_s: float, memory_bytes: int, least: int, most: int, measuring_s: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, wall_s)  # ends the process, whatever code it is in
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

    import numpy as np
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    model = (folder / "model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        given = {one.name: golden[one.name] for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    zeros = {name: np.zeros_like(values[:1]) for name, values in given.items()}
    for file, asked in (("answers.npz", given), ("zeros.npz", zeros)):
        np.savez(folder / file, **dict(zip(names, session.run(names, asked), strict=True)))
    count, seconds = len(given["windows"]), []
    # Until there are enough, as `golden` says it.
    while len(seconds) < least or (len(seconds) < most and sum(seconds) < measuring_s):
        at = len(seconds) % count
        began = time.perf_counter()
        session.run(names, {name: values[at : at + 1] for name, values in given.items()})
        seconds.append(time.perf_counter() - began)
    (folder / "seconds.json").write_text(json.dumps(seconds))


if __name__ == "__main__":
    limits = float(sys.argv[2]), int(sys.argv[3])
    main(Path(sys.argv[1]), *limits, int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]))
