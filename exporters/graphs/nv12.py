"""The graph that makes a network's input of a camera's NV12 on a GPU: `edge/runtimes/nv12.onnx`, the same for all.

Both planes are scaled and put into their place by products of matrices, at the network's size they become RGB. That is
what converting at the camera's size and scaling afterwards gives, because all of it is linear up to the last rounding.
The matrices, colours and padding are inputs (`edge.runtimes.nv12.Nv12Weights`), so that one file serves every network
and every camera, and a device needs nothing that writes graphs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from exporters.files import write_atomically
from exporters.graphs.compose import OPSET

FILE: Final = Path(__file__).parent.parent.parent / "edge/runtimes/nv12.onnx"
_HALF, _FLOAT, _BYTE = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.UINT8
_INPUTS: Final = (
    ("LUMA", _BYTE, ["luma_rows", "luma_columns"]),
    ("CHROMA", _BYTE, ["chroma_rows", "chroma_columns", 2]),
    ("LUMA_ROWS", _HALF, ["rows", "luma_rows"]),
    ("LUMA_COLUMNS", _HALF, ["luma_columns", "columns"]),
    ("CHROMA_ROWS", _HALF, ["rows", "chroma_rows"]),
    ("CHROMA_COLUMNS", _HALF, ["chroma_columns", "columns"]),
    ("COLOURS", _FLOAT, [3, 3]),
    ("GROUND", _FLOAT, ["rows", "columns", 3]),
)


def nv12_graph() -> ModelProto:
    """From the inputs above to `FRAME` uint8 `(rows, columns, 3)`, RGB.

    Half precision has the whole numbers to 255, and what tensor cores multiply; colours are computed in float32.
    """
    constants: dict[str, Any] = {
        "first": np.array([0]),
        "last": np.array([-1]),
        "black": np.array(0, np.float32),
        "white": np.array(255, np.float32),
    }
    graph = helper.make_graph(
        [*_scaled(), *_coloured()],
        "nv12",
        [helper.make_tensor_value_info(*each) for each in _INPUTS],
        [helper.make_tensor_value_info("FRAME", _BYTE, ["rows", "columns", 3])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8, producer_name="reeltag"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _scaled() -> list[NodeProto]:
    """`y`, `u` and `v` float32 (rows, columns, 1); zero where nothing of the picture lies."""
    return [
        # Alone after an input of bytes: TensorRT takes them only straight into a cast.
        _node("Cast", ["LUMA"], "luma", to=_HALF),
        _node("MatMul", ["luma", "LUMA_COLUMNS"], "luma/across"),
        _node("MatMul", ["LUMA_ROWS", "luma/across"], "luma/scaled"),
        _node("Cast", ["luma/scaled"], "luma/float", to=_FLOAT),
        _node("Unsqueeze", ["luma/float", "last"], "y"),
        _node("Cast", ["CHROMA"], "chroma", to=_HALF),
        _node("Transpose", ["chroma"], "chroma/planes", perm=[2, 0, 1]),
        _node("MatMul", ["chroma/planes", "CHROMA_COLUMNS"], "chroma/across"),
        _node("MatMul", ["CHROMA_ROWS", "chroma/across"], "chroma/scaled"),
        _node("Cast", ["chroma/scaled"], "chroma/float", to=_FLOAT),
        _node("Split", ["chroma/float"], "u/plane", "v/plane", axis=0),
        *(
            node
            for name in ("u", "v")
            for node in (
                _node("Squeeze", [f"{name}/plane", "first"], f"{name}/flat"),
                _node("Unsqueeze", [f"{name}/flat", "last"], name),
            )
        ),
    ]


def _coloured() -> list[NodeProto]:
    """No product of matrices: GPUs compute those of float32 with 10 bits where they may."""
    return [
        _node("Split", ["COLOURS"], "of_y", "of_u", "of_v", axis=0),
        _node("Mul", ["y", "of_y"], "from_y"),
        _node("Mul", ["u", "of_u"], "from_u"),
        _node("Mul", ["v", "of_v"], "from_v"),
        _node("Add", ["from_y", "GROUND"], "grounded"),
        _node("Add", ["from_u", "from_v"], "tint"),
        _node("Add", ["grounded", "tint"], "rgb"),
        _node("Round", ["rgb"], "whole"),
        _node("Clip", ["whole", "black", "white"], "clipped"),
        _node("Cast", ["clipped"], "FRAME", to=_BYTE),
    ]


def _node(operator: str, inputs: list[str], *outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, list(outputs), name=outputs[0], **attributes)


if __name__ == "__main__":
    write_atomically(FILE, nv12_graph().SerializeToString(deterministic=True))
    print(f"wrote {FILE}", file=sys.stderr)
