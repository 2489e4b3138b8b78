"""Triton Python backend that runs the `model.onnx` beside it with OpenVINO on the CPU.

Stands alone: it is copied into each network's version folder and imports nothing of reeltag.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One input and one output, any batch size; the requests of one call run as one batch."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the network as the config's parameters say."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.input_name = config["input"][0]["name"]
        self.output_name = config["output"][0]["name"]
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        options = {"PERFORMANCE_HINT": "LATENCY", **parameters}
        self.compiled = openvino.Core().compile_model(path, "CPU", options)
        self.request = self.compiled.create_infer_request()

    def finalize(self) -> None:
        """Free the network."""
        del self.request, self.compiled

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its share of one batch."""
        try:
            batches = [pb_utils.get_input_tensor_by_name(request, self.input_name).as_numpy() for request in requests]
            frames = batches[0] if len(batches) == 1 else np.concatenate(batches)
            answers = self._infer(frames)
        except Exception as error:
            problem = pb_utils.TritonError(f"{self.output_name} could not be computed: {error!r}")
            return [pb_utils.InferenceResponse(output_tensors=[], error=problem) for _ in requests]
        ends = np.cumsum([len(batch) for batch in batches])
        parts = np.split(answers, ends[:-1])
        return [pb_utils.InferenceResponse([pb_utils.Tensor(self.output_name, part)]) for part in parts]

    def _infer(self, frames: Any) -> Any:
        # The memory is shared both ways: Triton copies the answers out before it calls `execute` again.
        results = self.request.infer([openvino.Tensor(frames, shared_memory=True)], share_outputs=True)
        return np.asarray(results[0])
