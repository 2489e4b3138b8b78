"""Triton Python backend of a network on a GPU: converts tensors and errors; the siblings compute.

Stands alone: it is copied into a network's version folder with `batches.py` and the engine of its runtime, and imports
nothing of reeltag. Tensors go in and out as DLPack, so that what is on the GPU stays there. As an instance of kind
`KIND_CPU` it computes the same on the CPU.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils
from torch.utils.dlpack import from_dlpack

sys.path.insert(0, str(Path(__file__).parent))
from batches import Batches, Engine, batch_sizes

_OUT_OF_MEMORY = ("out of memory", "failed to allocate memory", "allocate memory for requested buffer")
"""In what PyTorch, ONNX Runtime, cuDNN and TensorRT say of a GPU that is full; lower case."""


class TritonPythonModel:
    """One input and its outputs; the requests of one call run as one batch."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network and prepare it for every batch size, so that its memory stays as it is from then on."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.input_name = config["input"][0]["name"]
        self.outputs = [output["name"] for output in config["output"]]
        on_gpu = args["model_instance_kind"] == "GPU"
        self.device = torch.device("cuda", int(args["model_instance_device_id"])) if on_gpu else torch.device("cpu")
        if on_gpu:
            torch.cuda.set_device(self.device)
        sizes = batch_sizes(int(config["max_batch_size"]), int(parameters.get("smallest_batch", "1")))
        folder = Path(args["model_repository"]) / args["model_version"]
        shape = tuple(int(size) for size in config["input"][0]["dims"])
        engine = _engine(parameters["runtime"], folder, self.input_name, shape, sizes, self.device)
        if on_gpu and engine.without_graphs:
            pb_utils.Logger.log_warn(f"{args['model_name']} runs without CUDA graphs: {engine.without_graphs}")
        self.batches = Batches(engine, sizes)

    def finalize(self) -> None:
        """Free the network."""
        del self.batches

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its share of one batch."""
        try:
            taken = [pb_utils.get_input_tensor_by_name(request, self.input_name) for request in requests]
            shares = self.batches.infer([from_dlpack(tensor.to_dlpack()) for tensor in taken])
            return [self._answer(request, share) for request, share in zip(requests, shares, strict=True)]
        except Exception as error:
            problem = self._problem(error)
            return [pb_utils.InferenceResponse(output_tensors=[], error=problem) for _ in requests]

    def _answer(self, request: Any, share: dict[str, torch.Tensor]) -> Any:
        """Nothing is copied here: the stub copies what it is given before the next batch is computed."""
        wanted = set(request.requested_output_names())
        names = [name for name in self.outputs if name in wanted]
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack(name, share[name]) for name in names])

    def _problem(self, error: Exception) -> Any:
        """What Triton is told; where the GPU answers nothing any more, this process ends and is started anew."""
        names = ", ".join(self.outputs)
        if _is_out_of_memory(error):
            _free_and_probe(self.device)
            text = f"CUDA out of memory: {names} could not be computed: {error}"
            return pb_utils.TritonError(text, pb_utils.TritonError.UNAVAILABLE)
        _free_and_probe(self.device)
        return pb_utils.TritonError(f"{names} could not be computed: {error!r}")


def _engine(
    runtime: str, folder: Path, input_name: str, shape: tuple[int, ...], sizes: tuple[int, ...], device: torch.device
) -> Any:
    """The network in its version folder."""
    engine: Engine
    if runtime == "onnxruntime":
        from onnx_engine import OnnxEngine  # noqa: PLC0415  # only the engine of the runtime is copied

        engine = OnnxEngine(folder / "model.onnx", input_name, shape, sizes, device)
    else:
        from plan_engine import PlanEngine  # noqa: PLC0415

        plan = (folder / "model.plan").read_bytes()
        engine = PlanEngine(importlib.import_module(runtime), plan, input_name, shape, sizes, device)
    return engine


def _is_out_of_memory(error: Exception) -> bool:
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(sign in said for sign in _OUT_OF_MEMORY)


def _free_and_probe(device: torch.device) -> None:
    """Give back what is only cached, and end this process where CUDA has failed for good (as after a bad address)."""
    if device.type != "cuda":
        return
    try:
        torch.cuda.empty_cache()
        torch.cuda.synchronize(device)
    except Exception as error:
        if not _is_out_of_memory(error):
            pb_utils.Logger.log_error(f"the GPU answers nothing any more, and this backend ends: {error}")
            os._exit(1)
