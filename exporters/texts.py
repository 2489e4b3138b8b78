"""A user's text recogniser, such as PaddleOCR's, as the edge reads plates with it: one file, not served by Triton.

The graph takes `FRAMES`, uint8 `(N, H, W, 3)` RGB, and answers for each of T places `TEXT`, int32 `(N, T)`, the index
of its character, and `SCORES`, float32 `(N, T)`. Character 0 is none, as in connectionist temporal classification
(Graves et al., 2006).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, compose, helper, numpy_helper

from reeltag.contract import FRAMES, SCORES
from reeltag.errors import InputError, InvalidOption, OutputError, SetupError

FOLDER: Final = ".text"
"""In the model repository; Triton does not look into it."""
TEXT: Final = "TEXT"
CARD: Final = "reeltag"
"""Of the graph's metadata: JSON with the characters and the size of the input."""
_PREFIX: Final = "own/"
_TOLERANCE: Final = 1e-4
_ROWS: Final = 48
_COLUMNS: Final = 320


@dataclass(frozen=True)
class TextOptions:
    """What the user says of the network."""

    onnx: Path
    labels: Path | None = None
    """Its characters, one a line, without the blank; without it those of its metadata `character`."""
    size: tuple[int, int] | None = None
    """Rows and columns; without it those of its input, and 48 by 320 where they are free."""
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    channel_order: str = "BGR"


def export_text(name: str, options: TextOptions, target: Path) -> str:
    """Compose it, compare it with its source, and write it.

    Args:
        name: Of the recogniser.
        options: What is known of it.
        target: Model repository.

    Returns:
        What was done, for people.

    Raises:
        InputError: The file is no such network, or its characters are not known.
        SetupError: What was composed disagrees with it.
        OutputError: The file cannot be written.
    """
    if not name.replace("_", "").replace("-", "").isalnum():
        raise InvalidOption(f"{name!r} is no name of a file; right are letters, digits, _ and -")
    source = _read(options.onnx)
    rows, columns = _size(source, options.size)
    sample = np.random.default_rng(0).integers(0, 256, (2, rows, columns, 3), np.uint8)
    wanted = _answer_of(source, _normalised(sample, options))
    is_settled = bool(np.allclose(wanted.sum(axis=2), 1, atol=1e-3) and (wanted >= 0).all())
    characters = _characters(source, options, wanted.shape[2])
    model = _composed(source, options, is_settled=is_settled)
    card = {"task": "text", "network": name, "height": rows, "width": columns, "characters": characters}
    helper.set_model_props(model, {CARD: json.dumps(card, ensure_ascii=False)})
    agreement = _compared(model, sample, wanted if is_settled else _softmax(wanted))
    file = target / FOLDER / f"{name}.onnx"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_bytes(model.SerializeToString())
        os.replace(part, file)  # noqa: PTH105 - its errors name both files
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror}") from error
    return f"{name} against its source: {agreement}\n{name}: {len(characters)} characters; published {file}"


def _read(path: Path) -> ModelProto:
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's and onnx's own types
        raise InputError(f"{path} cannot be read as ONNX: {error!s:.200}") from error
    given = [one for one in model.graph.input if one.name not in {each.name for each in model.graph.initializer}]
    dimensions: Any = given[0].type.tensor_type.shape.dim if given else ()
    is_picture = len(given) == 1 and len(dimensions) == 4 and dimensions[1].dim_value == 3
    if not is_picture or len(model.graph.output) != 1:
        raise InputError(
            f"{path} is no text recogniser: right is one input (N, 3, H, W) and one output (N, places, characters)"
        )
    return model


def _size(source: ModelProto, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Rows and columns of the input."""
    dimensions = _input(source).type.tensor_type.shape.dim
    fixed = [dimension.dim_value for dimension in dimensions[2:]]
    found = tuple(own or said for own, said in zip(fixed, wanted or (_ROWS, _COLUMNS), strict=True))
    if wanted is not None and found != wanted:
        raise InvalidOption(f"--size {wanted[0]}x{wanted[1]} is not that of the network: {found[0]}x{found[1]}")
    return found[0], found[1]


def _input(source: ModelProto) -> Any:
    weights = {one.name for one in source.graph.initializer}
    return next(one for one in source.graph.input if one.name not in weights)


def _characters(source: ModelProto, options: TextOptions, count: int) -> list[str]:
    """By index; the first is the blank."""
    if options.labels is not None:
        try:
            lines = options.labels.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{options.labels} cannot be read as UTF-8") from error
    else:
        known = {one.key: one.value for one in source.metadata_props}
        lines = known.get("character", "").splitlines()
    found = ["", *lines]
    if len(found) == count - 1:  # PaddleOCR adds the space, and its files do not say so
        found.append(" ")
    if len(found) != count:
        said = f"{len(lines)} characters are given" if lines else "its characters are not in it"
        raise InputError(
            f"the network tells {count - 1} characters apart, but {said}; right is --labels FILE, one a line"
        )
    return found


def _normalised(frames: np.ndarray[Any, Any], options: TextOptions) -> np.ndarray[Any, Any]:
    ordered = (frames.astype(np.float32) - np.array(options.mean, np.float32)) / np.array(options.std, np.float32)
    return (ordered[..., ::-1] if options.channel_order == "BGR" else ordered).transpose(0, 3, 1, 2)


def _answer_of(source: ModelProto, pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    try:
        session = onnxruntime.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
        answer = np.asarray(session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(pictures)})[0])
    except Exception as error:  # ONNX Runtime has a type of its own for each trouble
        raise InputError(f"the network does not run on {pictures.shape}: {error!s:.300}") from error
    if answer.ndim != 3 or len(answer) != len(pictures):
        raise InputError(f"the network answers {answer.shape}; right is (N, places, characters)")
    return answer


def _composed(source: ModelProto, options: TextOptions, *, is_settled: bool) -> ModelProto:
    network = compose.add_prefix(source, _PREFIX)
    body = network.graph
    weights: dict[str, Any] = {
        "mean": np.array(options.mean, np.float32),
        "std": np.array(options.std, np.float32),
        "order": np.array([2, 1, 0] if options.channel_order == "BGR" else [0, 1, 2], np.int64),
    }
    answer = body.output[0].name
    before = [
        helper.make_node("Cast", [FRAMES], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["cast", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
        helper.make_node("Gather", ["scaled", "order"], ["ordered"], axis=3),
        helper.make_node("Transpose", ["ordered"], [_input(network).name], perm=[0, 3, 1, 2]),
    ]
    after = [] if is_settled else [helper.make_node("Softmax", [answer], ["settled"], axis=2)]
    last = answer if is_settled else "settled"
    after += [
        helper.make_node("TopK", [last, "one"], ["best", "index"], axis=2),
        helper.make_node("Reshape", ["best", "flat"], [SCORES]),
        helper.make_node("Reshape", ["index", "flat"], ["place"]),
        helper.make_node("Cast", ["place"], [TEXT], to=TensorProto.INT32),
    ]
    weights.update(one=np.array([1], np.int64), flat=np.array([0, -1], np.int64))
    graph = helper.make_graph(
        [*before, *body.node, *after],
        "text",
        [helper.make_tensor_value_info(FRAMES, TensorProto.UINT8, ["batch", "rows", "columns", 3])],
        [
            helper.make_tensor_value_info(TEXT, TensorProto.INT32, ["batch", "places"]),
            helper.make_tensor_value_info(SCORES, TensorProto.FLOAT, ["batch", "places"]),
        ],
        [*body.initializer, *(numpy_helper.from_array(value, name) for name, value in weights.items())],
    )
    return helper.make_model(graph, opset_imports=network.opset_import, ir_version=network.ir_version)


def _softmax(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    powers = np.exp(values - values.max(axis=2, keepdims=True))
    return np.asarray(powers / powers.sum(axis=2, keepdims=True))


def _compared(model: ModelProto, sample: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> str:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    text, scores = session.run([TEXT, SCORES], {FRAMES: sample})
    off = float(np.abs(scores - wanted.max(axis=2)).max())
    at_text = np.take_along_axis(wanted, np.asarray(text)[..., None].astype(np.int64), axis=2)[..., 0]
    if off > _TOLERANCE or float(np.abs(at_text - wanted.max(axis=2)).max()) > _TOLERANCE:
        raise SetupError(f"what was composed disagrees with the network by {off:.2g}; {_TOLERANCE:g} is allowed")
    return f"largest difference of a score {off:.1e}"
