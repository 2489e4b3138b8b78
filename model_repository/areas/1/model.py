"""Triton Python backend of `areas`: converts tensors and errors; the logic is in `areas.py`, copied beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))
import areas


class TritonPythonModel:
    """`CLASS_MAP` and `SHARES` of inputs, and the pictures' `GEOMETRY`, to both of the pictures alone."""

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; one that fails does so alone."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            class_maps = pb_utils.get_input_tensor_by_name(request, "INPUT_CLASS_MAP").as_numpy()
            classes = pb_utils.get_input_tensor_by_name(request, "INPUT_SHARES").as_numpy().shape[1]
            geometry = pb_utils.get_input_tensor_by_name(request, "GEOMETRY").as_numpy()
            pictures = [areas.picture_in(*class_maps.shape[1:], of_picture) for of_picture in geometry]
            shares = [
                areas.shares_of(class_map[picture], classes)
                for class_map, picture in zip(class_maps, pictures, strict=True)
            ]
            answers = [pb_utils.Tensor("SHARES", np.stack(shares))]
            if "CLASS_MAP" in request.requested_output_names():
                answers.append(pb_utils.Tensor("CLASS_MAP", areas.without_borders(class_maps, pictures)))
        except Exception as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"areas failed: {error!r}"))
        return pb_utils.InferenceResponse(output_tensors=answers)
