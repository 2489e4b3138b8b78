"""Torch modules as ONNX graphs."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import onnx
import torch
from onnx import ModelProto

_OPSET: Final = 15
"""The newest that TensorRT 8.5 takes whole, and that of the ONNX source."""


def traced(
    module: torch.nn.Module,
    example: torch.Tensor,
    input_name: str,
    output_names: list[str],
    free_axes: Sequence[str] = ("batch",),
) -> ModelProto:
    """The ONNX graph of a torch module, with any batch size.

    Args:
        module: The network.
        example: An input.
        input_name: Of it in the graph.
        output_names: Of the outputs, in order.
        free_axes: Names of the first axes of the input and of every output; each may have any length.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The exporter that traces is deprecated, but the new one cannot write opset 15.
        warnings.simplefilter("ignore")
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            module,
            (example,),
            path,
            dynamo=False,
            opset_version=_OPSET,
            input_names=[input_name],
            output_names=output_names,
            dynamic_axes={name: dict(enumerate(free_axes)) for name in (input_name, *output_names)},
        )
        return onnx.load(path)
