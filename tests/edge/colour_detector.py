"""Detectors that need no training: the box of all pixels of a kind of colour, as an ONNX file for `--head none`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, checker, helper, numpy_helper, save

_LEAST = {"white": 0.6, "colourful": 0.35}


def write(path: Path, colour: str, height: int, width: int) -> None:
    """Pictures `[N, 3, H, W]`, 0 to 1, to boxes `[N, 1, 6]`.

    Args:
        path: Of the file.
        colour: `white`: the least channel is high; `colourful`: channels are far apart.
        height: Of the input.
        width: Of the input.
    """
    node = helper.make_node
    nodes = [
        node("ReduceMin", ["pictures"], ["least"], axes=[1], keepdims=0),
        node("ReduceMax", ["pictures"], ["most"], axes=[1], keepdims=0),
        node("Sub", ["most", "least"], ["apart"]),
        node("Greater", ["least" if colour == "white" else "apart", "threshold"], ["is_it"]),
        node("Cast", ["is_it"], ["mask"], to=TensorProto.FLOAT),
    ]
    for name, across in (("columns", 1), ("rows", 2)):
        nodes += [
            node("ReduceMax", ["mask"], [name], axes=[across], keepdims=0),
            node("ArgMax", [name], [f"{name}_first"], axis=1, keepdims=1),
            node("ArgMax", [name], [f"{name}_last"], axis=1, keepdims=1, select_last_index=1),
            node("Cast", [f"{name}_first"], [f"{name}_from"], to=TensorProto.FLOAT),
            node("Cast", [f"{name}_last"], [f"{name}_until"], to=TensorProto.FLOAT),
            node("Add", [f"{name}_until", "one"], [f"{name}_to"]),
        ]
    nodes += [
        node("ReduceMax", ["columns"], ["score"], axes=[1], keepdims=1),
        node("Mul", ["score", "nothing"], ["class"]),
        node("Concat", ["columns_from", "rows_from", "columns_to", "rows_to", "score", "class"], ["row"], axis=1),
        node("Unsqueeze", ["row", "middle"], ["boxes"]),
    ]
    constants: dict[str, npt.NDArray[Any]] = {
        "threshold": np.array(_LEAST[colour], np.float32),
        "one": np.array(1, np.float32),
        "nothing": np.array(0, np.float32),
        "middle": np.array([1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, ["N", 3, height, width])],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", 1, 6])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    save(model, str(path))
