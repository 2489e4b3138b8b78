"""Triton Python backend of `decode`: converts tensors and errors; `pool.py` decodes, with `frames/` beside it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import c_python_backend_utils
import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))
from pool import Geometry, Picture, Pool


class TritonPythonModel:
    """`IMAGE` to the pixels and geometry of each view that is asked for, and `ERROR`.

    A picture that cannot be decoded gives zeros and the reason in `ERROR`; the others of its batch are not affected.
    Requests are answered as they are done, so that none waits for another's pictures.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Read the views from the configuration and start the processes that decode."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.views: list[str] = json.loads(parameters["views"])
        dims = {output["name"]: tuple(int(size) for size in output["dims"]) for output in config["output"]}
        self.shapes = [dims[name] for name in self.views]
        self.pool = Pool(self.views, self.shapes, workers=int(parameters["workers"]))
        self.answering = ThreadPoolExecutor(1, thread_name_prefix="decode-answers")

    def finalize(self) -> None:
        """End the processes."""
        self.pool.close()
        self.answering.shutdown()

    def execute(self, requests: list[Any]) -> None:
        """Begin to decode the pictures of all requests."""
        for request in requests:
            wanted = set(request.requested_output_names())
            views = [i for i, name in enumerate(self.views) if wanted & {name, f"{name}_GEOMETRY"}]
            batch = _Batch(request, self, views)
            try:
                self.pool.submit(batch.pictures(request))
            except Exception as error:  # the other requests are in work already
                batch.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(f"decoding did not begin: {error!r}")))


class _Batch:
    """One request: its pictures, and the tensors that they are decoded into."""

    def __init__(self, request: Any, model: TritonPythonModel, views: Sequence[int]) -> None:
        self.model, self.views = model, views
        self.sender = request.get_response_sender()
        count = pb_utils.get_input_tensor_by_name(request, "IMAGE").shape()[0]
        self.pixels = [np.empty((count, *model.shapes[view]), np.uint8) for view in views]
        self.geometry = [np.zeros((count, 6), np.float32) for _ in views]
        self.errors = np.full((count, 1), b"", np.object_)
        self.left = count

    def pictures(self, request: Any) -> list[Picture]:
        """What is to be decoded. The batch does not keep them: with its last picture it is gone, too."""
        files = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().reshape(-1)
        allowed = request.timeout() / 1e6
        until = time.monotonic() + allowed if allowed else float("inf")
        return [
            Picture(file, self.views, [pixels[i] for pixels in self.pixels], partial(self.done, i), until)
            for i, file in enumerate(files)
        ]

    def done(self, index: int, result: Sequence[Geometry] | str) -> None:
        """Note what became of one picture; the last one sends the answer."""
        if isinstance(result, str):
            self.errors[index, 0] = result.encode()
            for pixels in self.pixels:
                pixels[index] = 0
        else:
            for tensor, of_view in zip(self.geometry, result, strict=True):
                tensor[index] = of_view
        self.left -= 1
        if not self.left:
            self.model.answering.submit(self.answer)

    def send(self, response: Any) -> None:
        """Send the only response; a sender that fails cannot send an error any more."""
        try:
            self.sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception as error:
            pb_utils.Logger.log_error(f"decode: a response could not be sent: {error!r}")

    def answer(self) -> None:
        """Send the pictures, if there is room for them in the memory that is shared with Triton."""
        size = sum(tensor.nbytes for tensor in (*self.pixels, *self.geometry))
        if _has_room(2 * size):
            response = self.response()
        else:
            text = f"the shared memory pool size cannot grow for {len(self.errors)} decoded pictures of {size:,} bytes"
            response = pb_utils.InferenceResponse(error=pb_utils.TritonError(text))
        self.send(response)

    def response(self) -> Any:
        """The tensors."""
        tensors = [pb_utils.Tensor("ERROR", self.errors)]
        for view, pixels, geometry in zip(self.views, self.pixels, self.geometry, strict=True):
            tensors.append(pb_utils.Tensor(self.model.views[view], pixels))
            tensors.append(pb_utils.Tensor(f"{self.model.views[view]}_GEOMETRY", geometry))
        return pb_utils.InferenceResponse(output_tensors=tensors)


def _has_room(size: int) -> bool:
    """Whether so many bytes are free in the memory that is shared with Triton, or where it would grow."""
    if c_python_backend_utils.shared_memory.free_memory() >= size:
        return True
    shared = os.statvfs("/dev/shm")
    return shared.f_bavail * shared.f_frsize >= size
