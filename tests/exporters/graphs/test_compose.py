"""The bundled graphs against references that share no code with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from exporters.catalogue.entries import CHECKPOINT_MODELS, MODELS, ModelSpec
from exporters.graphs import compare
from reeltag.frames import decode_views

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

DETECTOR = MODELS["nanodet_g"]
PUBLISHED_NANODET = "models/nanodet_g_416_coco80.onnx"


def run(source: Any, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def photographs(shared: Path, spec: ModelSpec, count: int) -> npt.NDArray[np.uint8]:
    files = sorted((shared / "data" / "coco128" / "val2017").glob("*.jpg"))[:count]
    frames = np.empty((count, *spec.input_shape), np.uint8)
    assert spec.view is not None
    for file, frame in zip(files, frames, strict=True):
        decode_views(file.read_bytes(), [spec.view], [frame])
    return frames


def decode_slowly(outputs: dict[str, npt.NDArray[np.float32]], picture: int) -> list[tuple[float, ...]]:
    """NanoDet's published decoding, cell by cell, straight from the words of its description."""
    rows = []
    for stride in (8, 16, 32):
        columns = 416 // stride
        scores = outputs[f"class_scores_stride{stride}"][picture]
        logits = outputs[f"box_logits_stride{stride}"][picture]
        for cell in range(len(scores)):
            label = int(scores[cell].argmax())
            sides = []
            for side in range(4):
                weights = [math.exp(value) for value in logits[cell, side * 11 : side * 11 + 11]]
                sides.append(stride * sum(i * w for i, w in enumerate(weights)) / sum(weights))
            x, y = (cell % columns + 0.5) * stride, (cell // columns + 0.5) * stride
            corners = (x - sides[0], y - sides[1], x + sides[2], y + sides[3])
            rows.append((*(min(max(c, 0.0), 416.0) for c in corners), float(scores[cell, label]), float(label)))
    return sorted(rows, key=lambda row: -row[4])[:300]


def test_the_detector_answers_what_the_published_network_decodes_to(shared: Path) -> None:
    frames = photographs(shared, DETECTOR, 3)
    bgr = frames[..., ::-1].astype(np.float32)
    normalised = (bgr - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
    images = np.ascontiguousarray(normalised.transpose(0, 3, 1, 2), np.float32)
    published = run(str(shared / PUBLISHED_NANODET), {"images": images})
    candidates = run(str(DETECTOR.onnx_path), {"FRAMES": frames})["CANDIDATES"]
    assert candidates.shape == (3, 300, 6)
    for i in range(3):
        expected = np.array(decode_slowly(published, i))
        np.testing.assert_allclose(candidates[i, :, 4], expected[:, 4], atol=1e-4)
        clear = np.abs(np.diff(expected[:100, 4])) > 1e-4  # nearly equal scores may change places
        kept = np.flatnonzero(np.concatenate([[True], clear]) & np.concatenate([clear, [False]]))
        assert len(kept) > 30
        np.testing.assert_allclose(candidates[i, kept], expected[kept], atol=0.02)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_batch_answers_what_its_pictures_answer_alone(name: str) -> None:
    spec = MODELS[name]
    frames = compare.sample_frames(spec, 1 if spec.task == "shots" else 2)
    frames = np.concatenate([frames, frames[:, ::-1]])
    session = onnxruntime.InferenceSession(str(spec.onnx_path), providers=["CPUExecutionProvider"])
    (together,) = session.run(None, {"FRAMES": frames})
    for i, frame in enumerate(frames):
        (alone,) = session.run(None, {"FRAMES": frame[None]})
        if spec.task == "detect":  # equal scores may come in another order
            np.testing.assert_allclose(together[i, :, 4], alone[0, :, 4], atol=1e-5)
        else:
            np.testing.assert_allclose(together[i], alone[0], atol=1e-5)


def test_candidates_are_sorted_and_inside_the_input() -> None:
    (candidates,) = run(str(DETECTOR.onnx_path), {"FRAMES": compare.sample_frames(DETECTOR)}).values()
    assert (np.diff(candidates[..., 4], axis=1) <= 0).all()
    assert candidates[..., :4].min() >= 0
    assert candidates[..., :4].max() <= 416
    assert set(np.unique(candidates[..., 5])) <= set(range(80))


def test_the_classifier_names_a_photograph(shared: Path) -> None:
    spec = MODELS["efficientnet_lite0"]
    (scores,) = run(str(spec.onnx_path), {"FRAMES": photographs(shared, spec, 3)}).values()
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-4)
    assert spec.labels[int(scores[2].argmax())] == "teddy bear"


@pytest.mark.parametrize("name", list(MODELS))
def test_storing_weights_as_float16_changes_no_answer(name: str) -> None:
    """`store_as_half` on weights that float16 cannot hold exactly."""
    from exporters.graphs import compose

    spec = MODELS[name]
    model = onnx.load(spec.onnx_path)
    single = widened(model)
    half = compose.store_as_half(single)
    assert half.ByteSize() < 0.6 * single.ByteSize()
    frames = compare.sample_frames(spec, 1)
    (expected,) = run(single.SerializeToString(), {"FRAMES": frames}).values()
    (found,) = run(half.SerializeToString(), {"FRAMES": frames}).values()
    compare.check_agreement(spec, expected, found)


def widened(model: Any) -> Any:
    """The graph with its float16 weights as float32, each changed by up to a quarter of float16's precision."""
    generator = np.random.default_rng(3)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in initializers]:
        tensor = initializers[node.input[0]]
        values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        values *= 1 + generator.uniform(-1, 1, values.shape).astype(np.float32) * 2**-13
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, node.output[0]))
        model.graph.node.remove(node)
    return model


def test_class_maps_are_compared_pixel_by_pixel() -> None:
    from reeltag.errors import SetupError

    spec = CHECKPOINT_MODELS["swiftnet_rn18"]
    expected = np.zeros((1, 200, 200), np.uint8)
    found = expected.copy()
    found[0, 0, :4] = 18
    nothing = "class maps differ in 0.0100% of the pixels, but there is one class alone: nothing was found to compare"
    assert compare.check_agreement(spec, expected, found) == nothing
    expected[0, 100:], found[0, 100:] = 2, 2
    assert compare.check_agreement(spec, expected, found) == "class maps differ in 0.0100% of the pixels"
    found[0, 0, 4] = 1
    with pytest.raises(SetupError, match=r"class maps differ in 0\.0125% of the pixels; allowed are 0\.01%"):
        compare.check_agreement(spec, expected, found)


def test_a_graph_that_disagrees_is_refused() -> None:
    from reeltag.errors import SetupError

    spec = MODELS["efficientnet_lite0"]
    expected = np.full((1, 1000), 1e-3, np.float32)
    wrong = expected.copy()
    wrong[0, 7] += 2e-3
    compare.check_agreement(spec, expected, expected)
    with pytest.raises(SetupError, match="disagrees with its source"):
        compare.check_agreement(spec, expected, wrong)
    boxes = np.array([[[10, 10, 50, 50, 0.5, 3]]], np.float32)
    with pytest.raises(SetupError, match="disagrees with its source"):
        compare.check_agreement(DETECTOR, boxes, boxes + np.array([0.2, 0, 0, 0, 0, 0], np.float32))
    with pytest.raises(SetupError, match="disagrees with its source"):
        compare.check_agreement(DETECTOR, boxes, boxes + np.array([0, 0, 0, 0, 0, 1], np.float32))


def test_the_bare_network_composes_to_the_bundled_bytes() -> None:
    """What `reeltag export nanodet_g` does on a clean clone."""
    from exporters.graphs import compose

    network = compose.bare_network(DETECTOR, onnx.load(DETECTOR.onnx_path))
    again = compose.store_as_half(compose.compose_graph(DETECTOR, network))
    assert again.SerializeToString(deterministic=True) == DETECTOR.onnx_path.read_bytes()


def test_the_published_file_composes_to_the_bundled_bytes(shared: Path) -> None:
    from exporters.graphs import compose
    from exporters.networks import nanodet

    network = nanodet.load_onnx(shared / PUBLISHED_NANODET)
    composed = compose.store_as_half(compose.compose_graph(DETECTOR, network))
    assert composed.SerializeToString(deterministic=True) == DETECTOR.onnx_path.read_bytes()
