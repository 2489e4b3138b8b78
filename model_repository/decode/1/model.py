"""Triton Python backend of `decode`: converts tensors and errors; the logic is in `frames.py`, copied beside it."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))
import frames


class TritonPythonModel:
    """`IMAGE` to the pixels and geometry of each view that is asked for, and `ERROR`.

    A picture that cannot be decoded gives zeros and the reason in `ERROR`; the others of its batch are not affected.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Read the views from the config parameters and start the decoding threads."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.views = {name: frames.View.parse(name) for name in json.loads(parameters["views"])}
        # Pictures are spread over the threads; OpenCV's own would only compete with them.
        cv2.setNumThreads(1)
        self.pool = ThreadPoolExecutor(max(1, int(parameters["threads"])), thread_name_prefix="decode")

    def finalize(self) -> None:
        """Stop the threads."""
        self.pool.shutdown()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decode the pictures of all requests at once."""
        batches = [_Batch(request, self.views) for request in requests]
        jobs = [self.pool.submit(batch.decode, i) for batch in batches for i in range(len(batch.images))]
        for job in jobs:
            job.exception()
        return [batch.response() for batch in batches]


class _Batch:
    """One request: its pictures, and the tensors that they are decoded into."""

    def __init__(self, request: Any, views: dict[str, frames.View]) -> None:
        wanted = set(request.requested_output_names())
        self.views = [view for name, view in views.items() if wanted & {name, f"{name}_GEOMETRY"}]
        self.images = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy().reshape(-1)
        count = len(self.images)
        self.pixels = [np.zeros((count, view.height, view.width, 3), np.uint8) for view in self.views]
        self.geometry = [np.zeros((count, 6), np.float32) for _ in self.views]
        self.errors = np.full((count, 1), b"", np.object_)

    def decode(self, index: int) -> None:
        """Decode one picture into its place in the tensors."""
        try:
            geometry = frames.decode_views(self.images[index], self.views, [p[index] for p in self.pixels])
        except frames.ImageError as error:
            self.errors[index, 0] = f"{error.code}: {error}".encode()
        except Exception as error:
            self.errors[index, 0] = f"internal: decoding failed ({error!r})".encode()
        else:
            for tensor, of_view in zip(self.geometry, geometry, strict=True):
                tensor[index] = of_view.to_array()

    def response(self) -> Any:
        """The tensors as Triton's response."""
        tensors = [pb_utils.Tensor("ERROR", self.errors)]
        for view, pixels, geometry in zip(self.views, self.pixels, self.geometry, strict=True):
            tensors.append(pb_utils.Tensor(view.name, pixels))
            tensors.append(pb_utils.Tensor(f"{view.name}_GEOMETRY", geometry))
        return pb_utils.InferenceResponse(output_tensors=tensors)
