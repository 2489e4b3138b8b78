"""Compares an exported graph with the network it was made from; what disagrees is not published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import ModelProto

from exporters.catalogue.entries import ModelSpec
from exporters.graphs.compose import IMAGES, is_one_by_one, one_by_one
from exporters.graphs.heads import BINS, LOGITS, STRIDES, head_map
from reeltag.errors import SetupError

Floats = npt.NDArray[np.float32]
Reference = Callable[[npt.NDArray[np.uint8]], Floats]
"""From `FRAMES` to what the exported graph should answer; of a detector every cell, where the graph cuts at K."""

SCORE_TOLERANCE: Final = 1e-3
"""Largest allowed difference of a score or probability."""
BOX_TOLERANCE_PIXELS: Final = 0.1
"""Largest allowed difference of a box coordinate, input pixels."""
CLASS_MAP_TOLERANCE: Final = 1e-4
"""Largest allowed share of pixels with another class: where two are equally likely, rounding chooses."""
_PICTURES: Final = 4
_LOWEST_COMPARED_SCORE: Final = 0.05
_NOTHING: Final = {
    "detect": f"but none reaches {_LOWEST_COMPARED_SCORE:g}: no box was found to compare",
    "segment": "but there is one class alone: nothing was found to compare",
    "classify": "but they are alike for every picture: nothing was found to compare",
    "shots": "but they are alike for every frame: nothing was found to compare",
}
"""Said instead of a difference of nothing."""


def sample_frames(spec: ModelSpec, count: int = _PICTURES) -> npt.NDArray[np.uint8]:
    """Pictures of smooth random colours with rectangles on them, the same at every call: uint8 `(N, *input_shape)`."""
    generator = np.random.default_rng(20)
    rows, columns = np.arange(spec.height), np.arange(spec.width)
    frames = np.empty((count, *spec.input_shape), np.uint8)
    for frame in frames.reshape(-1, spec.height, spec.width, 3):
        coarse = generator.integers(0, 256, (8, 8, 3))
        frame[:] = coarse[np.ix_(rows * 8 // spec.height, columns * 8 // spec.width)]
        top, left = generator.integers(0, spec.height // 2), generator.integers(0, spec.width // 2)
        frame[top : top + spec.height // 3, left : left + spec.width // 3] = generator.integers(0, 256, 3)
    return frames


def normalised(spec: ModelSpec, frames: npt.NDArray[np.uint8]) -> Floats:
    """uint8 `(N, H, W, 3)` RGB to what the bare network takes: float32 `(N, 3, H, W)` in its channel order."""
    pixels = (frames.astype(np.float32) - np.array(spec.mean, np.float32)) / np.array(spec.std, np.float32)
    if spec.channel_order == "BGR":
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32)


def onnx_reference(spec: ModelSpec, network: ModelProto) -> Reference:
    """The bare network in ONNX Runtime, with pre-processing and decoding in NumPy."""
    run = plain_session(network)

    def answer(frames: npt.NDArray[np.uint8]) -> Floats:
        outputs = run({IMAGES: normalised(spec, frames)})
        return softmax(outputs[LOGITS]) if spec.head == "softmax" else decode_gfl(every_cell(spec), outputs)

    return answer


def run_onnx(model: ModelProto, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, Floats]:
    """Run a graph once in ONNX Runtime, without its optimisations."""
    return plain_session(model)(inputs)


def plain_session(model: ModelProto) -> Callable[[dict[str, npt.NDArray[Any]]], dict[str, Floats]]:
    """A graph in ONNX Runtime, without its optimisations: from inputs to outputs, each by name.

    One that takes one picture at a time is given them one by one.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: dict[str, npt.NDArray[Any]]) -> dict[str, Floats]:
        return dict(zip(names, session.run(names, inputs), strict=True))

    return (lambda inputs: one_by_one(run, inputs)) if is_one_by_one(model) else run


def every_cell(spec: ModelSpec) -> ModelSpec:
    """The detector with as many candidates as cells, so that decoding cuts none off."""
    return replace(spec, candidates=sum((spec.height // stride) * (spec.width // stride) for stride in STRIDES))


def decode_gfl(spec: ModelSpec, outputs: dict[str, Floats]) -> Floats:
    """Decode every cell of a detector, then keep the K best: float32 `(N, K, 6)` as `CANDIDATES`."""
    rows = []
    for stride in STRIDES:
        head = outputs[head_map(stride)]
        columns = head.shape[3]
        cells = head.reshape(*head.shape[:2], -1).transpose(0, 2, 1)
        logits, distances = np.split(cells, [cells.shape[2] - 4 * BINS], 2)
        bins = np.arange(BINS, dtype=np.float32)
        sides = softmax(distances.reshape(*cells.shape[:2], 4, BINS)) @ bins * stride
        cell = np.arange(cells.shape[1])
        centre = np.stack([cell % columns, cell // columns], 1) * stride + stride / 2
        boxes = np.concatenate([centre - sides[..., :2], centre + sides[..., 2:]], 2)
        boxes = np.clip(boxes, 0, [spec.width, spec.height] * 2)
        scores = 1 / (1 + np.exp(-logits))
        rows.append(np.concatenate([boxes, scores.max(2, keepdims=True), scores.argmax(2)[..., None]], 2))
    return _best(spec, np.concatenate(rows, 1).astype(np.float32))


def decode_yolox(spec: ModelSpec, cells: Floats) -> Floats:
    """Decode every cell of a YOLOX' `forward`, `(N, cells, 5 + C)`, then keep the K best, as `CANDIDATES`."""
    grids = [np.mgrid[: spec.height // s, : spec.width // s].reshape(2, -1).T[:, ::-1] for s in STRIDES]
    steps = np.concatenate([np.full((len(grid), 1), s) for s, grid in zip(STRIDES, grids, strict=True)])
    centres = (cells[..., :2] + np.concatenate(grids)) * steps
    with np.errstate(over="ignore"):  # an untrained network's box may be infinite
        extents = np.exp(cells[..., 2:4]) * steps
    boxes = np.concatenate([centres - extents / 2, centres + extents / 2], 2)
    scores = cells[..., 4:5] * cells[..., 5:]
    rows = [boxes.clip(0, [spec.width, spec.height] * 2), scores.max(2, keepdims=True), scores.argmax(2)[..., None]]
    return _best(spec, np.concatenate(rows, 2).astype(np.float32))


def _best(spec: ModelSpec, candidates: Floats) -> Floats:
    order = np.argsort(-candidates[..., 4], axis=1, kind="stable")[:, : spec.candidates]
    return np.take_along_axis(candidates, order[..., None], 1)


def softmax(values: Floats) -> Floats:
    """Along the last axis."""
    exponents = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(-1, keepdims=True), np.float32)


def check_agreement(
    spec: ModelSpec, expected: npt.NDArray[Any], found: npt.NDArray[Any], *, exact: npt.NDArray[Any] | None = None
) -> str:
    """Compare answers to the same frames.

    Args:
        spec: Says what the answers are.
        expected: Of the reference; of a detector the K best count.
        found: Of the exported graph.
        exact: Of the reference without the rounding of its float16; what that moved may move as far in the graph, in
            the other direction, and a coordinate by its own roundings.

    Returns:
        The largest differences, for people.

    Raises:
        SetupError: They differ by more than the tolerances.
    """
    kept = spec.candidates if spec.task == "detect" else None
    expected = expected[:, :kept]
    if found.shape != expected.shape:
        raise SetupError(f"{spec.name}: the exported graph answers shape {found.shape} instead of {expected.shape}")
    allowed = _allowed(spec, expected, None if exact is None else exact[:, :kept])
    differences = _differences(spec, expected, found, allowed.score if exact is not None else None)
    if not differences.within(allowed):
        raise SetupError(
            f"{spec.name}: the exported graph disagrees with its source ({differences.text(spec)}; allowed are "
            f"{allowed.limits(spec)}); it was not kept"
        )
    return differences.text(spec)


@dataclass(frozen=True)
class _Differences:
    """The largest ones between two answers, or those allowed."""

    score: float = 0.0
    box: float = 0.0
    """Of a coordinate, input pixels."""
    pixels: float = 0.0
    """Share of a class map."""
    boxes: int = 0
    """How many were compared."""
    found_something: bool = True
    """See `finds_something`."""

    def within(self, allowed: _Differences) -> bool:
        """Whether all are; false for NaN."""
        return self.score <= allowed.score and self.box <= allowed.box and self.pixels <= allowed.pixels

    def text(self, spec: ModelSpec) -> str:
        """For people."""
        if spec.task == "segment":
            said = f"class maps differ in {self.pixels:.4%} of the pixels"
        else:
            said = f"scores within {self.score:.1e}"
        if not self.found_something:
            return f"{said}, {_NOTHING[spec.task]}"
        return said + (f", {self.boxes} boxes within {self.box:.1e} px" if spec.task == "detect" else "")

    def limits(self, spec: ModelSpec) -> str:
        """For people."""
        if spec.task == "segment":
            return f"{self.pixels:.2%}"
        return f"{self.score:g}" + (f" and {self.box:g} px" if spec.task == "detect" else "")


def _allowed(spec: ModelSpec, expected: npt.NDArray[Any], exact: npt.NDArray[Any] | None) -> _Differences:
    least = _Differences(SCORE_TOLERANCE, BOX_TOLERANCE_PIXELS, CLASS_MAP_TOLERANCE)
    if exact is None:
        return least
    rounded = _differences(spec, exact, expected, SCORE_TOLERANCE)
    largest = float(np.abs(expected[..., :4]).max(initial=0)) if spec.task == "detect" else 0.0
    own = 2 * float(np.spacing(np.float16(largest)))  # a corner is made of a centre and half a side, each rounded
    return _Differences(
        score=least.score + 2 * rounded.score,
        box=max(least.box, own) + 2 * (rounded.box if np.isfinite(rounded.box) else 0.0),
        pixels=least.pixels + 2 * rounded.pixels,
    )


def _differences(
    spec: ModelSpec, expected: npt.NDArray[Any], found: npt.NDArray[Any], tied: float | None
) -> _Differences:
    """Between two answers of the same shape; scores that are `tied` closer than this may exchange classes."""
    telling = finds_something(spec, expected)
    if spec.task == "segment":
        return _Differences(pixels=float(np.mean(found != expected)), found_something=telling)
    if spec.task != "detect":
        return _Differences(score=float(np.abs(found - expected).max()), found_something=telling)
    score = float(np.abs(found[..., 4] - expected[..., 4]).max())
    compared = [_well_scored(spec, boxes, tied) for boxes in expected]
    box = max(_box_difference(e, f, tied) for e, f in zip(compared, found, strict=True))
    return _Differences(score, box, boxes=sum(map(len, compared)), found_something=any(map(len, compared)))


def finds_something(spec: ModelSpec, expected: npt.NDArray[Any]) -> bool:
    """Whether agreement with these answers of the reference says anything.

    There is a well scored box; there are several classes in a class map; the scores of a classifier or a shot detector
    are not alike for every picture.
    """
    if spec.task == "detect":
        return any(len(_well_scored(spec, boxes[: spec.candidates])) for boxes in expected)
    if spec.task == "segment":
        return len(np.unique(expected)) > 1
    pictures = expected if spec.task == "classify" else expected.reshape(-1, 1)
    return bool(np.ptp(pictures, axis=0).max() > SCORE_TOLERANCE)


def _well_scored(spec: ModelSpec, expected: Floats, tied: float | None = None) -> Floats:
    """The boxes `(K, 6)` of a picture that are compared: where the list is cut at K its last ones may be others."""
    is_cut = len(expected) == spec.candidates
    lowest = max(_LOWEST_COMPARED_SCORE, float(expected[-1, 4]) + (tied or SCORE_TOLERANCE) if is_cut else 0.0)
    return expected[expected[:, 4] >= lowest]


def _box_difference(expected: Floats, found: Floats, tied: float | None) -> float:
    """Largest distance, in pixels, of an expected box from the nearest found one of its class: `(n, 6)` each.

    Boxes are matched by place because nearly equal scores may change their order.
    """
    worst = 0.0
    for box in expected:
        alike = found[:, 5] == box[5]
        if tied is not None:  # rounding makes scores of two classes equal
            alike |= np.abs(found[:, 4] - box[4]) <= tied
        if not alike.any():
            return float("inf")
        worst = max(worst, float(np.abs(found[alike, :4] - box[:4]).max(1).min()))
    return worst
