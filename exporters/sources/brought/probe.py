"""Runs a brought network on pictures, to learn what it answers and whether it takes any number of them."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto, TensorProto

from exporters.graphs.compare import Floats
from exporters.sources.brought.batch_axis import with_fixed_size, with_free_batch
from exporters.sources.brought.own_graph import Layout, OwnGraph, shape_text
from reeltag.errors import InputError

_DTYPES: Final[dict[int, Any]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
}
_RELATIVE_TOLERANCE: Final = 1e-3
"""Largest difference between a picture's answer alone and among others, over the largest answer."""
_HALF_TOLERANCE: Final = 2e-2
"""The same for a network that computes in float16."""


@dataclass(frozen=True)
class OwnNetwork:
    """A user's graph at one size of input, in ONNX Runtime."""

    graph: OwnGraph
    layout: Layout
    height: int
    """Rows of the input, pixels."""
    width: int
    """Columns of the input, pixels."""

    def answers(self, images: Floats) -> dict[str, npt.NDArray[Any]]:
        """What the user's graph answers to `(N, 3, H, W)`, as many at once as it takes: by output, `(N, ...)`.

        Raises:
            InputError: It cannot be run, or answers another number of pictures.
        """
        if not self.graph.batch:
            return _run(self._original, self.feed(images))
        rounds = []
        for start in range(0, len(images), self.graph.batch):
            some = images[start : start + self.graph.batch]
            filled = np.resize(some, (self.graph.batch, *images.shape[1:]))
            rounds.append({name: answer[: len(some)] for name, answer in self._fixed_round(filled).items()})
        return {name: np.concatenate([answers[name] for answers in rounds]) for name in rounds[0]}

    def feed(self, images: Floats) -> dict[str, npt.NDArray[Any]]:
        """float32 `(N, 3, H, W)` as the graph takes it."""
        laid = images if self.layout == "NCHW" else np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        dtype = _DTYPES[self.graph.element_type]
        return {self.graph.input_name: laid.round().astype(dtype) if dtype is np.uint8 else laid.astype(dtype)}

    def with_free_batch(self, images: Floats) -> ModelProto:
        """The graph at this size for any number of pictures, tried on several at once.

        Raises:
            InputError: It answers otherwise to several pictures than to each.
        """
        alone = [self.answers(image[None]) for image in images]
        expected = {name: np.concatenate([answers[name] for answers in alone]) for name in alone[0]}
        sized = with_fixed_size(self.graph.model, self.graph.input_name, self._shape)
        if not self.graph.batch and self._agrees(sized, images, expected):
            return sized
        freed = with_free_batch(sized, self.graph.batch or 1)
        if self._agrees(freed, images, expected):
            return freed
        found = f"is fixed at {self.graph.batch}" if self.graph.batch else "does not take several pictures at once"
        raise InputError(
            f"the graph's batch {found} {shape_text(self.graph.shape)}, and cannot be freed by changing its shapes; "
            "export it with a dynamic one: torch.onnx.export(..., dynamic_axes={'INPUT': {0: 'batch'}, 'OUTPUT': "
            "{0: 'batch'}}), in YOLOX and ultralytics --dynamic or dynamic=True"
        )

    @property
    def _shape(self) -> tuple[int, ...]:
        sides = (3, self.height, self.width) if self.layout == "NCHW" else (self.height, self.width, 3)
        return (self.graph.batch, *sides)

    @cached_property
    def _original(self) -> onnxruntime.InferenceSession:
        return _session(self.graph.model)

    def _fixed_round(self, images: Floats) -> dict[str, npt.NDArray[Any]]:
        return _run(self._original, self.feed(images))

    def _agrees(self, model: ModelProto, images: Floats, expected: dict[str, npt.NDArray[Any]]) -> bool:
        is_half = self.graph.element_type == TensorProto.FLOAT16
        try:
            session = _session(model)
            for count in (len(images), len(images) - 1):  # one of them is not what the graph may be fixed at
                found = _run(session, self.feed(images[:count]))
                if not all(_close(expected[name][:count], found[name], is_half) for name in expected):
                    return False
        except InputError:
            return False
        return True


def check_openvino(model: ModelProto) -> None:
    """Refuse a graph that the embedded server's runtime cannot read, where that runtime is installed.

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


def _close(expected: npt.NDArray[Any], found: npt.NDArray[Any], is_half: bool) -> bool:
    if expected.shape != found.shape:
        return False
    if expected.dtype.kind != "f":
        return bool((expected == found).mean() > 1 - _RELATIVE_TOLERANCE)
    tolerance = _HALF_TOLERANCE if is_half or expected.dtype == np.float16 else _RELATIVE_TOLERANCE
    largest = np.abs(expected.astype(np.float64)).max(initial=1)
    return bool(np.abs(expected.astype(np.float64) - found).max(initial=0) <= tolerance * largest)


def _session(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises types of its own for each kind of failure
        raise InputError(f"ONNX Runtime cannot load the graph: {_said(error)}") from error


def _run(session: onnxruntime.InferenceSession, feed: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    (images,) = feed.values()
    names = [output.name for output in session.get_outputs()]
    try:
        found = dict(zip(names, session.run(names, feed), strict=True))
    except Exception as error:  # ONNX Runtime raises types of its own for each kind of failure
        raise InputError(f"ONNX Runtime cannot run the graph on {images.shape}: {_said(error)}") from error
    for name, answer in found.items():
        if not isinstance(answer, np.ndarray) or not answer.ndim or len(answer) != len(images):
            raise InputError(
                f"output {name!r} is {_answered(answer)} for {len(images)} pictures; one row for each picture fits: "
                "export it without suppressing boxes and without squeezing the batch axis"
            )
    return found


def _answered(answer: object) -> str:
    return f"{answer.shape}" if isinstance(answer, np.ndarray) else "no tensor"


def _said(error: Exception) -> str:
    """The reason, without ONNX Runtime's own places in the code."""
    reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error)).strip()
    return re.sub(r"/\S+\.(cc|h):\d+ (\S+ )?", "", reason)[:400]
