"""Triton Python backend of `decode`: converts tensors and errors; `pool.py` or `gpu.py` decodes, with `frames/`."""

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
        pool = Pool(self.views, self.shapes, workers=int(parameters["workers"]))
        device = _device_of(args)
        self.decoder: Any = pool if device is None else _on_gpu(pool, self.views, device)
        self.answering = ThreadPoolExecutor(1, thread_name_prefix="decode-answers")

    def finalize(self) -> None:
        """End the processes."""
        self.decoder.close()
        self.answering.shutdown()

    def execute(self, requests: list[Any]) -> None:
        """Begin to decode the pictures of all requests."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                self.decoder.submit(_Batch(request, sender, self).pictures(request))
            except Exception as error:  # the other requests are in work already
                _send(sender, _failed(f"decoding did not begin: {error!r}"))


class _Batch:
    """One request: its pictures, and the tensors that they are decoded into."""

    def __init__(self, request: Any, sender: Any, model: TritonPythonModel) -> None:
        self.model, self.sender = model, sender
        self.wanted = set(request.requested_output_names())
        wanted = [i for i, name in enumerate(model.views) if self.wanted & {name, f"{name}_GEOMETRY"}]
        self.views: Sequence[int] = wanted or [0]  # a picture is decoded to learn of its errors, too
        count = pb_utils.get_input_tensor_by_name(request, "IMAGE").shape()[0]
        self.pixels = [model.decoder.empty((count, *model.shapes[view])) for view in self.views]
        self.geometry = [np.zeros((count, 6), np.float32) for _ in self.views]
        self.errors = np.full((count, 1), b"", np.object_)
        self.left = count
        self.failure: Exception | None = None

    def pictures(self, request: Any) -> list[Picture]:
        """What is to be decoded. The batch does not keep them: with its last picture it is gone, too."""
        files = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().reshape(-1)
        allowed = request.timeout() / 1e6
        until = time.monotonic() + allowed if allowed else float("inf")
        return [
            Picture(file, self.views, [pixels[i] for pixels in self.pixels], partial(self.done, i), until)
            for i, file in enumerate(files)
        ]

    def done(self, index: int, result: Sequence[Geometry] | str | Exception) -> None:
        """Note what became of one picture; the last one sends the answer."""
        if isinstance(result, Exception):
            self.failure = result
        elif isinstance(result, str):
            self.errors[index, 0] = result.encode()
            for pixels in self.pixels:
                if isinstance(pixels, np.ndarray):  # on the GPU it is done, in its own thread
                    pixels[index] = 0
        else:
            for tensor, of_view in zip(self.geometry, result, strict=True):
                tensor[index] = of_view
        self.left -= 1
        if not self.left:
            self.model.answering.submit(self.answer)

    def answer(self) -> None:
        """Send the pictures, if there is room for them in the memory that is shared with Triton."""
        in_host = [tensor for tensor in (*self.pixels, *self.geometry) if isinstance(tensor, np.ndarray)]
        size = sum(tensor.nbytes for tensor in in_host)
        if self.failure is not None:
            response = _failed(str(self.failure))
        elif _has_room(2 * size):
            response = self.response()
        else:
            response = _failed(
                f"the shared memory pool size cannot grow for {len(self.errors)} decoded pictures of {size:,} bytes"
            )
        _send(self.sender, response)

    def response(self) -> Any:
        """The tensors that were asked for; those of the GPU go to Triton without a copy in the host's memory.

        Triton's stub drops others while it does not hold the interpreter's lock, which ends it in Python 3.12.
        """
        found: dict[str, Any] = {"ERROR": self.errors}
        for view, pixels, geometry in zip(self.views, self.pixels, self.geometry, strict=True):
            name = self.model.views[view]
            found |= {name: pixels, f"{name}_GEOMETRY": geometry}
        tensors = [_tensor(name, values) for name, values in found.items() if name in self.wanted]
        return pb_utils.InferenceResponse(tensors)


def _device_of(args: dict[str, str]) -> str | None:
    """The GPU of this instance, as PyTorch names it; none on the CPU."""
    return f"cuda:{args['model_instance_device_id']}" if args["model_instance_kind"] == "GPU" else None


def _on_gpu(pool: Pool, views: Sequence[str], device: str) -> Any:
    """What decodes on a GPU; the pool alone where that does not work."""
    try:
        import torch  # noqa: PLC0415  it takes seconds, and is not there where no GPU is used
        from frames import View  # noqa: PLC0415
        from gpu import GpuDecoder  # noqa: PLC0415

        decoder = GpuDecoder([View.parse(name) for name in views], pool, torch.device(device))
    except Exception as error:
        pb_utils.Logger.log_warn(f"decode: pictures are decoded on the CPU alone, since on the GPU: {error!r}")
        return pool
    pb_utils.Logger.log_info(f"decode: JPEGs are decoded on {decoder.says}")
    return decoder


def _tensor(name: str, values: Any) -> Any:
    make = pb_utils.Tensor if isinstance(values, np.ndarray) else pb_utils.Tensor.from_dlpack
    return make(name, values)


def _failed(text: str) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text))


def _send(sender: Any, response: Any) -> None:
    """Send the only response; a sender that fails cannot send an error any more."""
    try:
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    except Exception as error:
        pb_utils.Logger.log_error(f"decode: a response could not be sent: {error!r}")


def _has_room(size: int) -> bool:
    """Whether so many bytes are free in the memory that is shared with Triton, or where it would grow."""
    if c_python_backend_utils.shared_memory.free_memory() >= size:
        return True
    shared = os.statvfs("/dev/shm")
    return shared.f_bavail * shared.f_frsize >= size
