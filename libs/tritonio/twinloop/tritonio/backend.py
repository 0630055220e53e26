"""Runs the `model.onnx` beside this file in Triton's Python backend, on the CPU.

A copy lies in each version's folder and is run by Triton's own Python, which has onnxruntime and numpy but
none of this project's packages.
"""

# mypy: ignore-errors

import json
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """One session; requests that come together are run together."""

    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        os.nice(int(parameters.get("nice", {"string_value": "0"})["string_value"]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            f"{args['model_repository']}/{args['model_version']}/model.onnx",
            options,
            providers=["CPUExecutionProvider"],
        )
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.outputs = [one.name for one in self.session.get_outputs()]

    def execute(self, requests):
        asked = {
            name: [triton.get_input_tensor_by_name(one, name).as_numpy() for one in requests]
            for name in self.inputs
        }
        together = {name: one[0] if len(one) == 1 else np.concatenate(one) for name, one in asked.items()}
        answers = self.session.run(self.outputs, together)
        responses, at = [], 0
        for count in map(len, asked["windows"]):
            tensors = [
                triton.Tensor(name, answer[at : at + count])
                for name, answer in zip(self.outputs, answers, strict=True)
            ]
            responses.append(triton.InferenceResponse(tensors))
            at += count
        return responses
