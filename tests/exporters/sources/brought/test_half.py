"""Networks that compute in float16: compared within its rounding at the coordinates that they answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reeltag.errors import SetupError

torch: Any = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402  # may be missing

from exporters.catalogue.entries import MODELS, ModelSpec  # noqa: E402  # needs torch
from exporters.graphs import compare  # noqa: E402
from exporters.graphs.compose import store_as_half  # noqa: E402
from exporters.graphs.exact import computes_in_half, in_float32  # noqa: E402
from exporters.sources.brought.own_graph import read_graph  # noqa: E402
from reeltag import contract  # noqa: E402
from tests.exporters.sources.brought.others_networks import Detector, Segmenter, brought, exported  # noqa: E402

WIDE = (160, 1024)


def to_half(source: Path, target: Path) -> Path:
    """As converters do it that keep float32 outside: casts behind the input and before the output, appended."""
    model = onnx.load(source)
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            elif attribute.name == "value" and attribute.t.data_type == TensorProto.FLOAT:
                values = numpy_helper.to_array(attribute.t).astype(np.float16)
                attribute.t.CopyFrom(numpy_helper.from_array(values))
        node.input[:] = ["images/half" if name == "images" else name for name in node.input]
        node.output[:] = ["output0/half" if name == "output0" else name for name in node.output]
    graph.node.append(helper.make_node("Cast", ["output0/half"], ["output0"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("Cast", ["images"], ["images/half"], to=TensorProto.FLOAT16))
    del graph.value_info[:]
    target.write_bytes(model.SerializeToString())
    return target


def test_a_detectors_boxes_may_differ_by_the_rounding_of_their_coordinates(tmp_path: Path) -> None:
    """At 1000 pixels float16 knows every half pixel."""
    path = exported(tmp_path / "net.onnx", Detector("v8", 3), torch.rand(1, 3, *WIDE))
    source = brought(to_half(path, tmp_path / "half.onnx"), "detect", "ultralytics", 3)
    frames = compare.sample_frames(source.spec, 4)
    # As a runtime answers that rounds elsewhere, or as OpenVINO nowhere.
    found = compare.run_onnx(in_float32(source.graph), {contract.FRAMES: frames})[contract.CANDIDATES]
    expected, spec = source.reference(frames), source.spec
    with pytest.raises(SetupError, match=r"allowed are 0\.001 and 0\.1 px"):
        compare.check_agreement(spec, expected, found)
    assert source.exact is not None
    exact = source.exact(frames)
    assert "boxes within" in compare.check_agreement(spec, expected, found, exact=exact)
    assert "boxes within" in source.agreement()
    moved = found + np.array([8, 0, 8, 0, 0, 0], np.float32)
    with pytest.raises(SetupError, match="disagrees with its source"):
        compare.check_agreement(spec, expected, moved, exact=exact)
    in_full = brought(path, "detect", "ultralytics", 3)
    compare.check_agreement(spec, in_full.reference(frames), exact)


def test_a_wrong_decoding_is_found_in_float32(tmp_path: Path) -> None:
    """By less than what float16 may move a box at these coordinates."""
    path = exported(tmp_path / "net.onnx", Detector("v8", 3), torch.rand(1, 3, *WIDE))
    source = brought(to_half(path, tmp_path / "half.onnx"), "detect", "ultralytics", 3)
    (half,) = (t for t in source.graph.graph.initializer if t.name == "post/half")
    half.CopyFrom(numpy_helper.from_array(np.array(0.52, np.float32), half.name))
    with pytest.raises(SetupError, match=r"disagrees with its source .*allowed are 0\.001 and 0\.1 px"):
        source.agreement()


def test_a_segmenters_pixels_may_differ_where_rounding_chooses(tmp_path: Path) -> None:
    path = exported(tmp_path / "net.onnx", Segmenter(5))
    source = brought(to_half(path, tmp_path / "half.onnx"), "segment", "", 5)
    assert "class maps differ in" in source.agreement()


def test_weights_that_are_only_stored_in_float16_compute_in_float32(tmp_path: Path) -> None:
    path = exported(tmp_path / "net.onnx", Detector("v8", 3))
    stored = store_as_half(onnx.load(path))
    assert not computes_in_half(stored)
    assert in_float32(stored) is stored
    half = read_graph(to_half(path, tmp_path / "half.onnx")).model
    assert computes_in_half(half)
    assert not computes_in_half(in_float32(half))


def test_nan_is_within_no_tolerance() -> None:
    spec: ModelSpec = MODELS["efficientnet_lite0"]
    scores = np.full((2, 1000), 0.5, np.float32)
    wrong = scores.copy()
    wrong[0, 3] = np.nan
    for exact in (None, scores):
        with pytest.raises(SetupError, match="scores within nan"):
            compare.check_agreement(spec, scores, wrong, exact=exact)
