"""ONNX files as converters and copies leave them: nodes out of order, weights elsewhere."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reeltag.errors import InputError

torch: Any = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from exporters.graphs import compare  # noqa: E402  # needs torch
from exporters.sources.brought.own_graph import read_graph  # noqa: E402
from reeltag import contract  # noqa: E402
from tests.exporters.sources.brought.others_networks import Detector, brought, exported  # noqa: E402


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return exported(tmp_path / "whole.onnx", Detector("v8", 3))


def test_nodes_are_put_in_order(whole: Path) -> None:
    model = onnx.load(whole)
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    turned = whole.with_name("turned.onnx")
    turned.write_bytes(model.SerializeToString())
    expected, found = (brought(path, "detect", "ultralytics", 3) for path in (whole, turned))
    frames = compare.sample_frames(found.spec, 2)
    for source in (expected, found):
        assert "scores within" in source.agreement()
    answers = [compare.run_onnx(s.graph, {contract.FRAMES: frames})[contract.CANDIDATES] for s in (expected, found)]
    np.testing.assert_array_equal(answers[0], answers[1])


def test_nodes_that_stand_in_order_stay_as_they_are(whole: Path) -> None:
    names = [node.name for node in onnx.load(whole).graph.node]
    assert [node.name for node in read_graph(whole).model.graph.node] == names


@pytest.mark.parametrize(
    ("first", "problem"),
    [("nothing", "node 'one' .Relu. takes 'nothing', which nothing makes"), ("two", "takes what is made of its own")],
)
def test_nodes_that_cannot_be_put_in_order_are_named(tmp_path: Path, first: str, problem: str) -> None:
    helper = onnx.helper
    nodes = [helper.make_node("Relu", [first], ["one"], name="one"), helper.make_node("Relu", ["one"], ["two"])]
    images = helper.make_tensor_value_info("images", 1, ["batch", 3, 8, 8])
    graph = helper.make_graph(nodes, "loop", [images], [helper.make_tensor_value_info("two", 1, None)])
    path = tmp_path / "loop.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    with pytest.raises(InputError, match=rf"loop\.onnx: .*{problem}"):
        read_graph(path)


@pytest.fixture
def apart(whole: Path) -> Path:
    """With its weights in a folder beside it."""
    folder = whole.parent / "apart"
    (folder / "weights").mkdir(parents=True)
    path = folder / "net.onnx"
    onnx.save(onnx.load(whole), path, save_as_external_data=True, location="weights/all.bin", size_threshold=16)
    return path


def test_weights_are_read_from_a_folder_below(apart: Path, whole: Path) -> None:
    def weights(path: Path) -> dict[str, Any]:
        return {t.name: onnx.numpy_helper.to_array(t) for t in read_graph(path).model.graph.initializer}

    expected, found = weights(whole), weights(apart)
    assert sum(values.size for values in expected.values()) > 1000
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    linked = apart.parent.parent / "linked.onnx"
    linked.symlink_to(apart)
    assert weights(linked).keys() == expected.keys()


def test_weights_that_cannot_be_read_are_named(apart: Path) -> None:
    file = apart.parent / "weights" / "all.bin"
    data = file.read_bytes()
    elsewhere = apart.parent / "all.bin"
    shutil.move(file, elsewhere)
    for place, problem in (
        (lambda: None, r"weights/all\.bin, which is not there beside it; copy that file, too"),
        (lambda: file.symlink_to(elsewhere), r"which is a link there, and onnx reads no links; copy the file itself"),
        (lambda: os.link(elsewhere, file), r"which is a link there"),
        (lambda: file.write_bytes(data[:-10]), r"has \d+ of the \d+ bytes that are needed; copy or download that"),
        (lambda: file.write_bytes(b"version https://git-lfs.github.com/spec/v1"), r"which is a pointer of Git LFS"),
    ):
        place()
        with pytest.raises(InputError, match=problem):
            read_graph(apart)
        file.unlink(missing_ok=True)


def test_weights_outside_the_folder_are_not_read(apart: Path) -> None:
    model = onnx.load(apart, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../all.bin"
    (apart.parent.parent / "all.bin").write_bytes(bytes(100_000))
    apart.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"\.\./all\.bin, which is not in its folder or below it"):
        read_graph(apart)
