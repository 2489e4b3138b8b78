"""Triton Python backend that runs the `model.onnx` beside it with OpenVINO on the CPU.

Stands alone: it is copied into each network's version folder and imports nothing of reeltag.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# OpenVINO tells Google Analytics of each import, without having asked; without this module of its own it does not.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None forbids an import

import numpy as np
import openvino
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One input and its outputs, any batch size; the requests of one call run as one batch."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the network; the config's upper-case parameters are OpenVINO's properties.

        It is compiled twice: a single picture is computed by `lone_threads` together, a batch is dealt out to threads
        that work alone, because those need not wait for each other after every layer.
        """
        config = json.loads(args["model_config"])
        values = {key: value["string_value"] for key, value in config["parameters"].items()}
        parameters = {key: value for key, value in values.items() if key.isupper()}
        self.items_per_inference = int(values["items_per_inference"])
        self.input_name = config["input"][0]["name"]
        self.outputs = {
            output["name"]: np.dtype(pb_utils.triton_string_to_numpy(output["data_type"]))
            for output in config["output"]
        }
        core = openvino.Core()
        model = core.read_model(Path(args["model_repository"]) / args["model_version"] / "model.onnx")
        if any(size.is_dynamic for size in list(model.input(self.input_name).partial_shape)[1:]):
            # The config says how long a window is where the graph takes any: OpenVINO then plans its memory once.
            model.reshape({self.input_name: [-1, *(int(size) for size in config["input"][0]["dims"])]})
        lone = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": values["lone_threads"]}
        together = core.compile_model(model, "CPU", {**parameters, **lone})
        self.together = together.create_infer_request()
        streams = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": parameters["INFERENCE_NUM_THREADS"]}
        alone = core.compile_model(model, "CPU", {**parameters, **streams})
        self.alone = [alone.create_infer_request() for _ in range(int(parameters["INFERENCE_NUM_THREADS"]))]

    def finalize(self) -> None:
        """Free the network."""
        del self.together, self.alone

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its share of one batch."""
        wanted = {name for request in requests for name in request.requested_output_names()}
        names = [name for name in self.outputs if name in wanted]
        try:
            batches = [pb_utils.get_input_tensor_by_name(request, self.input_name).as_numpy() for request in requests]
            answers = self._infer(batches[0] if len(batches) == 1 else np.concatenate(batches), names)
        except Exception as error:
            problem = pb_utils.TritonError(f"{', '.join(names)} could not be computed: {error!r}")
            return [pb_utils.InferenceResponse(output_tensors=[], error=problem) for _ in requests]
        ends = np.cumsum([len(batch) for batch in batches])
        parts = zip(*(np.split(answer, ends[:-1]) for answer in answers), strict=True)
        return [pb_utils.InferenceResponse(list(map(pb_utils.Tensor, names, part))) for part in parts]

    def _infer(self, frames: Any, names: list[str]) -> list[Any]:
        """Answers to all pictures, one an output.

        In rounds, because a thread keeps the memory of the largest part that it was given.
        """
        if len(frames) == 1:
            return self._round([self.together], [frames], names)
        rounds = -(-len(frames) // (len(self.alone) * self.items_per_inference))
        parts = np.array_split(frames, min(len(frames), rounds * len(self.alone)))
        starts = range(0, len(parts), len(self.alone))
        answers = [self._round(self.alone, parts[i : i + len(self.alone)], names) for i in starts]
        if len(answers) == 1:
            return answers[0]
        return [np.concatenate(of_output) for of_output in zip(*answers, strict=True)]

    def _round(self, workers: list[Any], parts: list[Any], names: list[str]) -> list[Any]:
        running = list(zip(workers, parts, strict=False))  # the last round may have fewer parts
        for worker, part in running:
            worker.start_async([openvino.Tensor(part, shared_memory=True)])
        # All are waited for before an error is raised: they read memory that Triton takes back.
        errors = [error for worker, _ in running if (error := _failure(worker))]
        if errors:
            raise errors[0]
        # Copied: the next round overwrites what the workers hold.
        return [
            np.concatenate([worker.get_tensor(name).data for worker, _ in running], dtype=self.outputs[name])
            for name in names
        ]


def _failure(worker: Any) -> Exception | None:
    try:
        worker.wait()
    except Exception as error:
        return error
    return None
