"""Runs a brought network on pictures, to learn what it answers."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, TensorProto

from exporters.graphs.compare import Floats
from exporters.graphs.exact import computes_in_half, in_float32
from exporters.sources.brought.own_graph import Layout, OwnGraph
from reeltag.errors import InputError

Arrays = dict[str, npt.NDArray[Any]]
"""By name of an output or input."""
LUMA: Final = (0.299, 0.587, 0.114)
"""How much red, green and blue weigh in a grey picture, as OpenCV and Pillow have it (ITU-R BT.601)."""
_DTYPES: Final[dict[int, Any]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
}


class OwnNetwork:
    """A user's graph at one size of input, in ONNX Runtime.

    Args:
        graph: As it was read.
        layout: Of its input.
        height: Rows of the input, pixels.
        width: Columns of the input, pixels.
    """

    def __init__(self, graph: OwnGraph, layout: Layout, height: int, width: int) -> None:
        self.graph, self.layout, self.size = graph, layout, (height, width)
        channels = graph.channels(layout)
        self.sides = (channels, height, width) if layout == "NCHW" else (height, width, channels)
        """Of the input, without the batch axis."""
        self._at_once = 1
        self.without_batch: frozenset[str] = frozenset()
        """Outputs that answer a single picture without a batch axis."""
        self._session = open_session(graph.model)

    @cached_property
    def exact(self) -> OwnNetwork:
        """The same in float32; itself where it computes in no float16."""
        if not computes_in_half(self.graph.model):
            return self
        is_half = self.graph.element_type == TensorProto.FLOAT16
        element_type = TensorProto.FLOAT if is_half else self.graph.element_type
        graph = replace(self.graph, model=in_float32(self.graph.model), element_type=element_type)
        return OwnNetwork(graph, self.layout, *self.size)

    def give(self, at_once: int) -> None:
        """Say how many pictures the graph is right for at once; 0 for any number, 1 before this is called."""
        self._at_once = self.exact._at_once = at_once

    def answers(self, images: Floats) -> Arrays:
        """What the user's graph answers to `(N, 3, H, W)`: by output, `(N, ...)`.

        Where it answers more rows to one picture than to another, as boxes that it chose itself, zeros fill them up.

        Raises:
            InputError: It cannot be run, or its answers cannot be told apart by picture.
        """
        return self.answers_of(self._session, images)

    def answers_of(self, session: onnxruntime.InferenceSession, images: Floats) -> Arrays:
        """The same of another session with the same input."""
        count = self._at_once or len(images)
        parts = [images[start : start + count] for start in range(0, len(images), count)]
        filled = [np.resize(part, (self.graph.batch or len(part), *part.shape[1:])) for part in parts]
        rounds = [run(session, self.feed(part)) for part in filled]
        answers: Arrays = {}
        for name in rounds[0]:
            rows = [found[name] for found in rounds]
            if any(not row.ndim or len(row) != len(part) for row, part in zip(rows, filled, strict=True)):
                self._require_single(name, rows[0], len(filled[0]))
                self.without_batch |= {name}
            if name in self.without_batch:
                rows = [row[None] for row in rows]
            answers[name] = _stacked(name, [row[: len(part)] for row, part in zip(rows, parts, strict=True)])
        return answers

    @staticmethod
    def _require_single(name: str, answer: npt.NDArray[Any], count: int) -> None:
        if count > 1:
            raise InputError(
                f"output {name!r} is {answer.shape} for {count} pictures; one row for each picture fits: export it "
                "without suppressing boxes and without squeezing the batch axis"
            )

    def feed(self, images: Floats) -> Arrays:
        """float32 `(N, 3, H, W)` as the graph takes it."""
        if self.graph.channels(self.layout) == 1:
            images = np.tensordot(images, np.array(LUMA, np.float32), (1, 0))[:, None]
        laid = images if self.layout == "NCHW" else np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        dtype = _DTYPES[self.graph.element_type]
        return {self.graph.input_name: laid.round().astype(dtype) if dtype is np.uint8 else laid.astype(dtype)}


def _stacked(name: str, rows: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Answers to several rounds in one array; zeros fill up those with fewer boxes."""
    if len({(row.ndim, row.shape[2:]) for row in rows}) > 1:
        shapes = ", ".join(sorted({str(row.shape) for row in rows}))
        raise InputError(
            f"output {name!r} has another shape for each picture ({shapes}); one that does not depend on what is in a "
            "picture fits"
        )
    if rows[0].ndim == 1:
        return np.concatenate(rows)
    longest, others = max(row.shape[1] for row in rows), [(0, 0)] * (rows[0].ndim - 2)
    return np.concatenate([np.pad(row, [(0, 0), (0, longest - row.shape[1]), *others]) for row in rows])


def open_session(model: ModelProto) -> onnxruntime.InferenceSession:
    """A graph in ONNX Runtime.

    Raises:
        InputError: It cannot be loaded.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises types of its own for each kind of failure
        raise InputError(f"ONNX Runtime cannot load the graph: {_said(error)}") from error


def run(session: onnxruntime.InferenceSession, feed: Arrays) -> Arrays:
    """All outputs.

    Raises:
        InputError: It cannot be run, or answers something else than tensors.
    """
    (images,) = feed.values()
    names = [output.name for output in session.get_outputs()]
    try:
        found = dict(zip(names, session.run(names, feed), strict=True))
    except Exception as error:  # ONNX Runtime raises types of its own for each kind of failure
        raise InputError(f"ONNX Runtime cannot run the graph on {images.shape}: {_said(error)}") from error
    for name, answer in found.items():
        if not isinstance(answer, np.ndarray) or answer.dtype == object:
            raise InputError(f"output {name!r} is no tensor of numbers; export the network without it")
    return found


def _said(error: Exception) -> str:
    """The reason, without ONNX Runtime's own places in the code."""
    reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error)).strip()
    return re.sub(r"/\S+\.(cc|h):\d+ (\S+ )?", "", reason)[:400]
