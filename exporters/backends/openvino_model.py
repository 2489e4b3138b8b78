"""Triton Python backend that runs the `model.onnx` beside it with OpenVINO on the CPU.

Stands alone: it is copied into each network's version folder and imports nothing of reeltag.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import c_python_backend_utils
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
        self.threads = int(parameters["INFERENCE_NUM_THREADS"])
        streams = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": str(self.threads)}
        alone = core.compile_model(model, "CPU", {**parameters, **streams})
        self.idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(self.threads):
            self.idle.put(alone.create_infer_request())
        self.computing = ThreadPoolExecutor(self.threads, thread_name_prefix="computing")
        self.answering = ThreadPoolExecutor(1, thread_name_prefix="answering")

    def finalize(self) -> None:
        """Free the network."""
        self.computing.shutdown()
        self.answering.shutdown()
        del self.together, self.idle

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """Compute a lone picture at once; else begin a batch, and return when a thread has nothing to do any more.

        Triton has the next batch ready by then, and no thread waits for those that are slower. It is called no sooner,
        so that what comes meanwhile is gathered.
        """
        batch = _Batch(requests, self)
        if len(batch.frames) == 1 and self.idle.qsize() == self.threads:
            batch.compute(self.together, 0, 1)
            return batch.responses()
        batch.senders = [request.get_response_sender() for request in requests]
        for start, end in self._parts(len(batch.frames)):
            self.computing.submit(self._compute, self.idle.get(), batch, start, end)
        self.idle.put(self.idle.get())
        return None

    def _parts(self, count: int) -> list[tuple[int, int]]:
        """First picture of each part, and that behind its last; so many that no thread is given more than it may."""
        rounds = -(-count // (self.threads * self.items_per_inference))
        sizes = [len(part) for part in np.array_split(np.empty(count), min(count, rounds * self.threads))]
        ends = np.cumsum(sizes).tolist()
        return list(zip([0, *ends], ends, strict=False))

    def _compute(self, worker: Any, batch: _Batch, start: int, end: int) -> None:
        is_last = batch.compute(worker, start, end)
        self.idle.put(worker)
        if is_last:
            self.answering.submit(batch.send)


class _Batch:
    """The pictures of some requests, and what was computed of them."""

    def __init__(self, requests: Sequence[Any], model: TritonPythonModel) -> None:
        wanted = {name for request in requests for name in request.requested_output_names()}
        self.names = [name for name in model.outputs if name in wanted]
        self.types = model.outputs
        self.tensors = [pb_utils.get_input_tensor_by_name(request, model.input_name) for request in requests]
        """Kept while their memory is read."""
        arrays = [tensor.as_numpy() for tensor in self.tensors]
        self.frames = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        self.ends = np.cumsum([len(array) for array in arrays])
        self.parts: dict[int, list[Any]] = {}
        """Outputs of the pictures of a part, by the number of its first picture."""
        self.left = len(self.frames)
        self.failure: Exception | None = None
        self.senders: list[Any] = []
        self.lock = threading.Lock()

    def compute(self, worker: Any, start: int, end: int) -> bool:
        """Compute some of the pictures; whether these were the last."""
        try:
            worker.infer([openvino.Tensor(self.frames[start:end], shared_memory=True)])
            # Copied: the next part overwrites what the worker holds.
            self.parts[start] = [worker.get_tensor(name).data.astype(self.types[name]) for name in self.names]
        except Exception as error:
            self.failure = error
        with self.lock:
            self.left -= end - start
            return not self.left

    def responses(self) -> list[Any]:
        """To each request its share."""
        if self.failure is not None:
            return self._failed(f"{', '.join(self.names)} could not be computed: {self.failure!r}")
        of_parts = zip(*(self.parts[start] for start in sorted(self.parts)), strict=True)
        whole = [np.concatenate(of_output) for of_output in of_parts]
        size = sum(output.nbytes for output in whole)
        if self.senders and not _has_room(2 * size):
            return self._failed(f"the shared memory pool size cannot grow for answers of {size:,} bytes")
        shares = zip(*(np.split(output, self.ends[:-1]) for output in whole), strict=True)
        return [pb_utils.InferenceResponse(list(map(pb_utils.Tensor, self.names, share))) for share in shares]

    def _failed(self, text: str) -> list[Any]:
        return [pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(text)) for _ in self.ends]

    def send(self) -> None:
        """Send each request its share; a sender that fails cannot send an error any more."""
        try:
            for sender, response in zip(self.senders, self.responses(), strict=True):
                sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception as error:
            pb_utils.Logger.log_error(f"{', '.join(self.names)} could not be sent: {error!r}")


def _has_room(size: int) -> bool:
    """Whether so many bytes are free in the memory that is shared with Triton, or where it would grow."""
    if c_python_backend_utils.shared_memory.free_memory() >= size:
        return True
    shared = os.statvfs("/dev/shm")
    return shared.f_bavail * shared.f_frsize >= size
