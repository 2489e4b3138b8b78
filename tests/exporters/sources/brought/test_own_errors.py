"""Networks that cannot be served as they are: each is told what was found and what would fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reeltag.errors import InputError, InvalidOption

torch: Any = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from exporters.catalogue import entries  # noqa: E402  # needs torch
from exporters.sources.brought.dense_heads import DenseLayout  # noqa: E402
from exporters.sources.brought.layouts.grids import cells_of  # noqa: E402
from exporters.sources.brought.layouts.heads import READERS  # noqa: E402
from exporters.sources.brought.layouts.reading import Evidence, MisfitError, Recognised  # noqa: E402
from tests.exporters.sources.brought.others_networks import (  # noqa: E402
    SIDES,
    Classifier,
    Detector,
    Determinant,
    Segmenter,
    Squeezed,
    brought,
    exported,
)


def one_node(path: Path, operator: str, *shape: Any, domain: str = "", kind: int = 1, opset: int = 17) -> Path:
    """A graph of one node, named `culprit`, on an input `images`."""
    helper = onnx.helper
    value = helper.make_tensor_value_info("images", kind, shape or ("batch", 3, 32, 32))
    node = helper.make_node(operator, ["images"], ["out"], name="culprit", domain=domain)
    graph = helper.make_graph([node], "one", [value], [helper.make_tensor_value_info("out", kind, None)])
    domains = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    path.write_bytes(helper.make_model(graph, opset_imports=domains, ir_version=9).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("shape", "kind", "problem"),
    [
        ((1, 3, 32), 1, r"takes 'images': float32 \(1, 3, 32\); four sides fit: \(N, 3, H, W\) or \(N, H, W, 3\)"),
        (("b", 3, 8, 32, 32), 1, r"float32 \(N, 3, 8, 32, 32\); four sides fit"),
        (("b", 2, 32, 32), 1, r"float32 \(N, 2, 32, 32\); pictures of three channels fit, or of one"),
        (("b", 3, 32, 32), 7, r"int64 \(N, 3, 32, 32\); of float32, float16, uint8 fits"),
    ],
)
def test_another_input_is_named(tmp_path: Path, shape: Any, kind: int, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        brought(one_node(tmp_path / "net.onnx", "Identity", *shape, kind=kind), "classify", "", 3)


def test_operators_outside_onnx_are_named(tmp_path: Path) -> None:
    path = one_node(tmp_path / "net.onnx", "Gelu", domain="com.microsoft")
    with pytest.raises(InputError, match=r"uses Gelu of the domain 'com\.microsoft' \(node 'culprit'\)"):
        brought(path, "classify", "", 3)
    with pytest.raises(InputError, match=r"uses Sharpen \(node 'culprit'\), which is no operator of ONNX"):
        brought(one_node(path, "Sharpen"), "classify", "", 3)
    with pytest.raises(InputError, match="has opset 9; 11 to 22 fit: export it with opset_version=17"):
        brought(one_node(path, "Relu", opset=9), "classify", "", 3)


def test_an_operator_that_openvino_lacks_is_named(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(InputError, match=r"OpenVINO, .*, lacks operators of the graph: Det-\d+ \(node '/?Det"):
        brought(exported(tmp_path / "net.onnx", Determinant()), "classify", "softmax", 3)


def test_two_inputs_are_named(tmp_path: Path) -> None:
    path = one_node(tmp_path / "net.onnx", "Relu")
    model = onnx.load(path)
    model.graph.input.append(onnx.helper.make_tensor_value_info("sizes", 1, ("batch", 2)))
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"has 2 inputs \('images' \(N, 3, 32, 32\), 'sizes' \(N, 2\)\); one batch"):
        brought(path, "classify", "", 3)


def test_weights_among_the_inputs_are_no_inputs(tmp_path: Path) -> None:
    """As exporters before ONNX' format 4, and NanoDet's, list them."""
    path = exported(tmp_path / "net.onnx", Classifier(4))
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(value)
    onnx.save(model, path)
    assert brought(path, "classify", "", 4).spec.parameters > 500


def test_other_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    torch.save({"model": entries.network("yolox_nano", 2).state_dict()}, path)
    with pytest.raises(InputError, match=r"is a checkpoint of PyTorch, not an ONNX file; .*--checkpoint"):
        brought(path, "detect", "yolox", 2)
    for data, problem in (
        (b"", "is no ONNX file;"),
        (b"ptrt" + bytes(60), "is no ONNX file but a TensorRT plan"),
        (exported(tmp_path / "whole.onnx", Classifier(4)).read_bytes()[:900], "is damaged or cut off"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=problem):
            brought(path, "detect", "yolox", 2)
    with pytest.raises(InputError, match="cannot be read"):
        brought(tmp_path / "none.onnx", "detect", "yolox", 2)


def test_the_size_is_the_graphs_unless_it_leaves_it_open(tmp_path: Path) -> None:
    fixed = exported(tmp_path / "fixed.onnx", Detector("v8", 3))
    with pytest.raises(InvalidOption, match=r"fixed at 160x224 \(rows x columns\), not 320x320; leave --size out"):
        brought(fixed, "detect", "ultralytics", 3, size=(320, 320))
    free = exported(tmp_path / "free.onnx", Detector("v8", 3), free=(0, 2, 3))
    with pytest.raises(InvalidOption, match="choose one: --size 640, or rows x columns: --size 512x1024"):
        brought(free, "detect", "ultralytics", 3)
    assert brought(free, "detect", "ultralytics", 3, size=(96, 64)).spec.input_shape == (96, 64, 3)


def test_answers_of_several_pictures_need_a_row_for_each(tmp_path: Path) -> None:
    path = exported(tmp_path / "net.onnx", Squeezed(), torch.rand(4, 3, *SIDES), free=())
    with pytest.raises(InputError, match=r"'output0' is \(3,\) for 4 pictures; one row for each picture fits"):
        brought(path, "classify", "", 3)


def test_answers_that_are_not_finite_are_named(tmp_path: Path) -> None:
    network = Classifier(4)
    with torch.no_grad():
        network.linear.bias[1] = float("nan")
    with pytest.raises(InputError, match=r"'output0' holds NaN or infinity \(25\.0% of its values\)"):
        brought(exported(tmp_path / "net.onnx", network), "classify", "", 4)


@pytest.mark.parametrize(
    ("network", "task", "head", "labels", "problem"),
    [
        (Detector("v8", 3), "detect", "ultralytics", 4, "3 classes apart, and --labels has 4 lines.*with 3 lines, one"),
        (Detector("v8", 3), "detect", "yolox", 3, r"answers 'output0' \(N, 7, 735\); --head ultralytics fits$"),
        (Detector("v5", 3), "detect", "yolox", 9, "2205 cells are not the 735 .*ultralytics fits with 3 lines"),
        (Detector("raw", 3), "detect", "ultralytics", 3, "as YOLOX has it.*; --head yolox fits$"),
        (Detector("raw", 3), "detect", "", 3, "a detector needs --head.*; --head yolox fits$"),
        (Detector("nanodet", 3), "detect", "yolox", 3, "classes are not between 0 and 1 .*; --head nanodet fits$"),
        (Detector("nanodet", 3), "detect", "nanodet", 4, "35 channels are not 4 classes .* a NanoDet's of 3 classes"),
        (Detector("raw", 3), "detect", "none", 3, r"is not \(N, K, 6\) = x1, y1, x2, y2, score, class"),
        (Classifier(10), "classify", "", 9, "10 classes apart, and --labels has 9 lines"),
        (Classifier(10), "classify", "none", 10, "not between 0 and 1; leave --head out, and a softmax follows"),
        (Classifier(10, torch.nn.Sigmoid()), "classify", "", 10, "sum to .*--head none for independent probabilities"),
        (Classifier(10), "detect", "yolox", 10, "has not three sides.*; --task classify fits"),
        (Segmenter(5), "classify", "", 5, r"'output0' \(N, 5, 40, 56\); --task segment fits"),
        (Segmenter(5), "segment", "none", 5, "a channel for each class; leave --head out"),
        (Segmenter(5, is_map=True), "segment", "", 2, "is beyond the 2 of --labels"),
    ],
)
def test_a_head_that_does_not_fit_is_told_what_does(
    tmp_path: Path, network: Any, task: str, head: str, labels: int, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        brought(exported(tmp_path / "net.onnx", network), task, head, labels)


def read(head: str, answers: dict[str, Any], size: tuple[int, int]) -> Recognised:
    return READERS["detect"][head](Evidence(answers, ("a", "b", "c"), size))


def test_boxes_that_could_be_either_are_asked_about() -> None:
    """An untrained network's may be anywhere."""
    size, cells = (64, 64), cells_of((64, 64), (8, 16, 32))
    output = np.random.default_rng(2).uniform(0, 1, (2, cells, 8))
    output[..., :4] = np.random.default_rng(3).normal(0, 30, (2, cells, 4))
    with pytest.raises(MisfitError, match=r"say --head yolox-raw .* --head yolox-decoded"):
        read("yolox", {"output": output}, size)
    for head, box in (("yolox-raw", "offsets"), ("yolox-decoded", "centres")):
        form = read(head, {"output": output}, size).form
        assert isinstance(form, DenseLayout)
        assert form.box == box


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ((slice(None), slice(None), 4, 1.5), "scores .* are not between 0 and 1"),
        ((slice(None), 5, 4, 1.0), "do not fall along K"),
        ((slice(None), 2, 5, 0.5), "classes .* are not whole numbers"),
        ((slice(None), 2, 5, 3.0), "class 3 is beyond the 3 of --labels"),
        ((slice(None), 2, 2, 0.0), "some end before they begin"),
    ],
)
def test_candidates_are_checked(change: Any, problem: str) -> None:
    rows = [[5.0, 6, 20, 30, 0.9 - 0.1 * index, index % 3] for index in range(8)]
    output = np.array([rows, rows])
    assert read("none", {"output": output}, SIDES).form == "candidates"
    *place, value = change
    output[tuple(place)] = value
    with pytest.raises(MisfitError, match=problem):
        read("none", {"output": output}, SIDES)
    with pytest.raises(MisfitError, match="they are fractions, not input pixels"):
        read("none", {"output": np.array([rows]) / [40, 40, 40, 40, 1, 1]}, SIDES)


def test_labels_are_checked(tmp_path: Path) -> None:
    from exporters.catalogue.class_names import read_labels

    for content, problem in ((b"cat\n\ndog", "line 2"), (b"a\na", "lines 1 and 2"), (b"\xff", "read"), (b"", "empty")):
        (tmp_path / "bad.txt").write_bytes(content)
        with pytest.raises(InputError, match=rf"bad\.txt .*{problem}.*one class name a line"):
            read_labels(tmp_path / "bad.txt")
    with pytest.raises(InputError, match="257 classes are named; a class map holds up to 256"):
        brought(exported(tmp_path / "net.onnx", Segmenter(5)), "segment", "", 257)
