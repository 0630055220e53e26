"""Runs the `model.onnx` beside this file in Triton's Python backend, on the CPU.

A copy lies in each version's folder and is run by Triton's own Python, which has onnxruntime and numpy but
none of this project's packages.
"""

# mypy: ignore-errors

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton

OUTPUTS = ("score", "features", "deviations")


class TritonPythonModel:
    """One session; requests that wait together are run together."""

    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            f"{args['model_repository']}/{args['model_version']}/model.onnx",
            options,
            providers=["CPUExecutionProvider"],
        )

    def execute(self, requests):
        windows = [triton.get_input_tensor_by_name(one, "windows").as_numpy() for one in requests]
        together = windows[0] if len(windows) == 1 else np.concatenate(windows)
        answers = self.session.run(OUTPUTS, {"windows": together})
        responses, at = [], 0
        for one in windows:
            tensors = [
                triton.Tensor(name, answer[at : at + len(one)])
                for name, answer in zip(OUTPUTS, answers, strict=True)
            ]
            responses.append(triton.InferenceResponse(tensors))
            at += len(one)
        return responses
