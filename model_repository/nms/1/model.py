"""Triton Python backend of `nms`: converts tensors and errors; the logic is in `suppression.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))
import suppression


class TritonPythonModel:
    """`CANDIDATES` (and `GEOMETRY` on the image path) to `BOXES`, `SCORES`, `CLASSES`, `COUNT`.

    Behind a network that suppresses by itself the config has other inputs: its `BOXES` and `GEOMETRY` to `BOXES`.
    """

    def initialize(self, args: dict[str, str]) -> None:
        """Read the thresholds from the model's config parameters."""
        config = json.loads(args["model_config"])
        self.suppresses = any(tensor["name"] == "CANDIDATES" for tensor in config["input"])
        if self.suppresses:
            parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
            self.score_threshold = float(parameters["score_threshold"])
            self.iou_threshold = float(parameters["iou_threshold"])
            self.max_detections = next(int(o["dims"][0]) for o in config["output"] if o["name"] == "SCORES")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; one that fails does so alone."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            tensors = self._suppressed(request) if self.suppresses else {"BOXES": _input(request, "BOXES")}
            geometry = _input(request, "GEOMETRY")
            if geometry is not None:
                tensors["BOXES"] = suppression.to_source(tensors["BOXES"], geometry)
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"nms failed: {error!r}"))
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in tensors.items()]
        )

    def _suppressed(self, request: Any) -> dict[str, Any]:
        kept = suppression.suppress(
            _input(request, "CANDIDATES"),
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
        )
        return {"BOXES": kept.boxes, "SCORES": kept.scores, "CLASSES": kept.classes, "COUNT": kept.count}


def _input(request: Any, name: str) -> Any:
    """The tensor's array; None where the request has none of that name."""
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()
