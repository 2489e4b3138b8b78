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
    """`CANDIDATES` (and `GEOMETRY` on the image path) to `BOXES`, `SCORES`, `CLASSES`, `COUNT`."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the thresholds from the model's config parameters."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self.score_threshold = float(parameters["score_threshold"])
        self.iou_threshold = float(parameters["iou_threshold"])
        self.max_detections = next(int(o["dims"][0]) for o in config["output"] if o["name"] == "SCORES")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; one that fails does so alone."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            candidates = pb_utils.get_input_tensor_by_name(request, "CANDIDATES").as_numpy()
            geometry = pb_utils.get_input_tensor_by_name(request, "GEOMETRY")
            kept = suppression.suppress(
                candidates,
                score_threshold=self.score_threshold,
                iou_threshold=self.iou_threshold,
                max_detections=self.max_detections,
            )
            boxes = kept.boxes if geometry is None else suppression.to_source(kept.boxes, geometry.as_numpy())
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"nms failed: {error!r}"))
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor("BOXES", np.ascontiguousarray(boxes)),
                pb_utils.Tensor("SCORES", np.ascontiguousarray(kept.scores)),
                pb_utils.Tensor("CLASSES", kept.classes),
                pb_utils.Tensor("COUNT", kept.count),
            ]
        )
