"""Tries a composed graph in OpenVINO, which serves it, where that is installed."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

from onnx import ModelProto

from exporters.catalogue.entries import ModelSpec
from exporters.graphs import compare
from exporters.graphs.compose import is_one_by_one
from exporters.graphs.exact import in_float32
from reeltag.contract import CLASS_MAP, FRAMES
from reeltag.errors import InputError, SetupError

_PICTURES = 3


def check_readable(model: ModelProto) -> None:
    """Refuse a graph that the embedded server's runtime cannot read.

    Raises:
        InputError: It lacks an operator; the text names it, and a node.
    """
    if importlib.util.find_spec("openvino") is None:
        return
    import openvino  # noqa: PLC0415  # not installed where models are only exported

    try:
        openvino.Core().read_model(model.SerializeToString())
    except RuntimeError as error:
        lacking = re.search(r"No conversion rule found for operations: (.+)", str(error))
        if lacking is None:
            raise InputError(f"OpenVINO, which serves it, cannot read the graph: {error!s:.400}") from error
        operators = {operator.rpartition("-")[0] for operator in lacking[1].split(", ")}
        nodes = [repr(node.name.removeprefix("own/")) for node in model.graph.node if node.op_type in operators]
        raise InputError(
            f"OpenVINO, which serves it, lacks operators of the graph: {lacking[1]} (node {' and '.join(nodes[:3])}); "
            "export the network without them"
        ) from error


def problem_of(spec: ModelSpec, model: ModelProto) -> str:
    """Why OpenVINO does not answer what ONNX Runtime does, to one picture and to several; empty where it does.

    Args:
        spec: Of the network.
        model: Composed.
    """
    if importlib.util.find_spec("openvino") is None:
        return ""
    import openvino  # noqa: PLC0415  # not installed where models are only exported

    frames = compare.sample_frames(spec, _PICTURES)
    expected = _first(compare.run_onnx(in_float32(model), {FRAMES: frames}))
    core = openvino.Core()
    try:
        compiled = core.compile_model(
            core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        for count in (1,) if is_one_by_one(model) else (1, _PICTURES):
            answers = compiled({FRAMES: frames[:count]})
            found = _first({output.get_any_name(): answers[output] for output in compiled.outputs})
            compare.check_agreement(spec, expected[:count], found)
    except RuntimeError as error:  # of OpenVINO, whose text begins with its own places in the code
        return f"OpenVINO, which serves it, cannot run it: {str(error).strip().splitlines()[-1]:.300}"
    except SetupError as error:
        return f"OpenVINO, which serves it, answers otherwise than ONNX Runtime: {error}"
    return ""


def _first(outputs: dict[str, Any]) -> Any:
    return outputs[CLASS_MAP] if CLASS_MAP in outputs else next(iter(outputs.values()))
