"""Tries a composed graph in OpenVINO, which serves it, where that is installed."""

from __future__ import annotations

import importlib.util
import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from onnx import ModelProto

from exporters.catalogue.entries import ModelSpec
from exporters.graphs import compare
from exporters.graphs.compose import is_one_by_one
from reeltag.contract import CLASS_MAP, FRAMES
from reeltag.errors import InputError, SetupError

_PICTURES: Final = 3


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
    """Why OpenVINO cannot run a graph, or answers several pictures otherwise than each alone; empty where it does not.

    Args:
        spec: Of the network.
        model: Composed.
    """
    if importlib.util.find_spec("openvino") is None:
        return ""
    import openvino  # noqa: PLC0415  # not installed where models are only exported

    frames = compare.sample_frames(spec, _PICTURES)
    core, properties = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    try:
        compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", properties)
        alone = np.concatenate([_answer(compiled, frame[None]) for frame in frames])
        if not is_one_by_one(model):
            compare.check_agreement(spec, alone, _answer(compiled, frames))
    except RuntimeError as error:  # of OpenVINO, whose text begins with its own places in the code
        return f"OpenVINO, which serves it, cannot run it: {str(error).strip().splitlines()[-1]:.300}"
    except SetupError as error:
        return f"OpenVINO, which serves it, answers several pictures otherwise than each alone: {error}"
    return ""


def _answer(compiled: Any, frames: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    """The first of what is served; of a segmenter the class map."""
    answers = compiled({FRAMES: frames})
    found = {output.get_any_name(): np.array(answers[output]) for output in compiled.outputs}
    return found[CLASS_MAP] if CLASS_MAP in found else next(iter(found.values()))
