"""Networks that see the same in every picture: what answers says who it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from exporters.catalogue.entries import MODELS
from exporters.publishing.artefact import Artefact
from exporters.publishing.passport import Passport
from reeltag.contract import CANDIDATES, FRAMES, SCORES
from reeltag.frames import Fit, View

_CANDIDATES = 3


def constant_network(
    folder: Path,
    name: str,
    task: Literal["detect", "classify"],
    labels: Sequence[str],
    seen: int,
    *,
    side: int = 32,
    runtime: str = "openvino",
) -> Artefact:
    """A detector or classifier that is sure of class `seen`.

    Args:
        folder: For its files; made when it is missing.
        name: Of the network.
        task: Its task.
        labels: Names of its classes.
        seen: Index of the class that it sees.
        side: Of its input, pixels.
        runtime: That is to run it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text("\n".join(labels) + "\n")
    answer = np.zeros((1, len(labels)), np.float32)
    answer[0, seen] = 1
    if task == "detect":
        answer = np.zeros((1, _CANDIDATES, 6), np.float32)
        answer[0, 0] = (4, 4, side - 4, side - 4, 0.9, seen)
    tensor = CANDIDATES if task == "detect" else SCORES
    onnx.save(_constant(answer, tensor, side), folder / "model.onnx")
    spec = replace(
        MODELS["nanodet_g"],
        name=name,
        task=task,
        source="own",
        height=side,
        width=side,
        view=View(Fit.LETTERBOX, side, side),
        candidates=_CANDIDATES,
        labels_file=str((folder / "labels.txt").absolute()),
    )
    passport = Passport(runtime=runtime, precision="fp32", exported=True)
    return Artefact(spec, folder / "model.onnx", passport)


def _constant(answer: np.ndarray[tuple[int, ...], np.dtype[np.float32]], tensor: str, side: int) -> onnx.ModelProto:
    kept_axes = list(range(1, answer.ndim))
    nodes = [
        helper.make_node("Cast", [FRAMES], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Unsqueeze", ["nothing", "axes"], ["column"]),
        helper.make_node("Add", ["column", "answer"], [tensor]),
    ]
    constants = {"zero": np.float32(0), "axes": np.array(kept_axes), "answer": answer}
    frames = helper.make_tensor_value_info(FRAMES, onnx.TensorProto.UINT8, ["batch", side, side, 3])
    found = helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, ["batch", *answer.shape[1:]])
    stored = [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()]
    graph = helper.make_graph(nodes, "constant", [frames], [found], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
