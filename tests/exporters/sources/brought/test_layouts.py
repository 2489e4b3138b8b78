"""Layouts of many publishers, each of which holds the same boxes: all of them must be found where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reeltag.contract import CANDIDATES, FRAMES, NMS_OF_KIND
from reeltag.errors import InputError, InvalidOption

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from exporters.graphs import compare  # need torch
from exporters.sources.brought.layouts.heads import READERS
from exporters.sources.source import Source
from tests.exporters.sources.brought.others_networks import brought, labelled
from tests.exporters.sources.brought.told_networks import (
    CLASSES,
    SIDES,
    TRUTH,
    cells_of_nanodet,
    centres,
    corners,
    filled,
    fractions,
    logits,
    scores,
    told,
)

BOXES = corners()
QUERIES = 20
"""More than there are boxes."""
CELLS = 12 * 20 + 6 * 10 + 3 * 5
"""Of stride 8, 16 and 32."""


def classes(first: int = 0) -> Any:
    return np.array([box[5] + first for box in TRUTH], np.int64)


def confidence() -> Any:
    return np.array([box[4] for box in TRUTH], np.float32)


def rows(boxes: Any = BOXES, first: int = 0) -> Any:
    return np.column_stack([boxes, confidence(), classes(first)]).astype(np.float32)


def picodet() -> dict[str, Any]:
    levels = cells_of_nanodet(0.5)
    return {f"s{i}": s for i, (s, _) in enumerate(levels)} | {f"d{i}": d for i, (_, d) in enumerate(levels)}


def nanodet_plus() -> dict[str, Any]:
    return {"output": np.concatenate([np.concatenate(level, 1) for level in cells_of_nanodet(0.0)])}


def background(kind: str) -> Any:
    """Scores with one for no object, which is all that the rows without a box have; rows sum to 1."""
    found = filled(scores(CLASSES + 1, shift=int(kind == "first")), QUERIES)
    found[:, 0 if kind == "first" else -1] = 1 - found.sum(1)
    return found


FRACTIONS = filled(fractions(BOXES), QUERIES, 0.5)
CENTRES = filled(fractions(centres(BOXES)), QUERIES, 0.25)
V8 = filled(np.concatenate([centres(BOXES), scores(CLASSES)], 1), CELLS, 0.01)
V8[len(TRUTH) :, :4] = (50, 50, 8, 8)
MASKS = np.random.default_rng(1).normal(0, 2, (CELLS, 32)).astype(np.float32)
LAYOUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "PicoDet": ("picodet", picodet()),
    "NanoDet-Plus": ("nanodet-plus", nanodet_plus()),
    "YOLO-NAS": ("yolo-nas", {"boxes": filled(BOXES, CELLS, 1), "scores": filled(scores(CLASSES), CELLS)}),
    "PP-YOLOE": ("yolo-nas", {"scores": filled(scores(CLASSES), CELLS).T, "boxes": filled(BOXES, CELLS, 1)}),
    "YOLOv4": ("yolo-nas", {"boxes": FRACTIONS[:, None], "confs": filled(scores(CLASSES), QUERIES)}),
    "SSD": ("ssd", {"scores": background("first"), "boxes": FRACTIONS}),
    "SSD of mmdet": ("ssd", {"boxes": FRACTIONS, "scores": background("last")}),
    "SSD in pixels": ("ssd", {"boxes": filled(BOXES, QUERIES, 9), "scores": background("first")}),
    "YOLOv8": ("ultralytics", {"output0": V8.T}),
    "YOLOv8, cells first": ("ultralytics", {"output0": V8}),
    "YOLOv8-seg": (
        "ultralytics",
        {"output0": np.concatenate([V8, MASKS], 1).T, "output1": np.zeros((32, 24, 40), np.float32)},
    ),
    "DETR": ("detr", {"pred_logits": np.log(background("last") + 1e-9), "pred_boxes": CENTRES}),
    "DETR, after its softmax": ("detr", {"boxes": CENTRES, "scores": background("last")}),
    "RT-DETR": ("rt-detr", {"logits": logits(filled(scores(CLASSES), QUERIES)), "boxes": CENTRES}),
    "RT-DETR of ultralytics": ("rt-detr", {"output0": np.concatenate([CENTRES, filled(scores(CLASSES), QUERIES)], 1)}),
    "YOLOv10": ("end-to-end", {"output0": filled(rows(), 300)}),
    "YOLOv10 in fractions": ("end-to-end", {"output0": filled(rows(fractions(BOXES)), 300)}),
    "not sorted": ("end-to-end", {"output0": filled(rows(), 9)[::-1]}),
    "mmdet": ("end-to-end", {"dets": filled(rows()[:, :5], 100), "labels": filled(classes(), 100, -1)}),
    "EfficientNMS": (
        "end-to-end",
        {
            "num_dets": np.array([len(TRUTH)]),
            "det_boxes": filled(BOXES, 8, 7),
            "det_scores": filled(confidence(), 8, 0.95),  # what is behind the count is anything
            "det_classes": filled(classes(), 8, 1),
        },
    ),
    "torchvision": (
        "torchvision",
        {"boxes": filled(BOXES, 9), "labels": filled(classes(1), 9), "scores": filled(confidence(), 9)},
    ),
    "TensorFlow": (
        "tensorflow",
        {
            "detection_anchor_indices:0": np.arange(9.0, dtype=np.float32),
            "detection_boxes:0": filled(fractions(BOXES)[:, [1, 0, 3, 2]], 9),
            "detection_classes:0": filled(classes(1).astype(np.float32), 9, 1),
            "detection_scores:0": filled(confidence(), 9),
            "num_detections:0": np.array(4.0, np.float32),
            "raw_detection_boxes": np.zeros((50, 4), np.float32),
        },
    ),
}


def found_in(source: Source) -> Any:
    """Candidates of a picture whose score is worth it."""
    frames = compare.sample_frames(source.spec, 2)
    candidates = compare.run_onnx(source.graph, {FRAMES: frames})[CANDIDATES][1]
    return candidates[candidates[:, 4] > 0.1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_boxes_are_where_the_layout_says(tmp_path: Path, layout: str) -> None:
    head, answers = LAYOUTS[layout]
    source = brought(told(tmp_path / "net.onnx", answers), "detect", head, CLASSES)
    np.testing.assert_allclose(found_in(source), np.array(TRUTH), atol=2e-2)
    assert "scores within" in source.agreement()
    are_final = head in ("detr", "rt-detr", "end-to-end", "torchvision", "tensorflow")
    assert source.spec.is_final == are_final


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_layout_is_taken_for_another(tmp_path: Path, layout: str) -> None:
    """Every other head refuses it, or puts the boxes where they are; without a head it is asked for by name."""
    right, answers = LAYOUTS[layout]
    path = told(tmp_path / "net.onnx", answers)
    with pytest.raises(InputError, match=rf"a detector needs --head\. net\.onnx answers '.*--head {right}\b.*fits$"):
        brought(path, "detect", "", CLASSES)
    said_by_user_alone = {("nanodet-plus", "picodet"), ("picodet", "nanodet-plus")}
    for head in READERS["detect"].keys() - {right}:
        source, problem = found_or_refused(path, head)
        assert "--labels with -" not in problem, head
        assert "with 0 lines" not in problem, head
        if source is not None and (right, head) not in said_by_user_alone:
            np.testing.assert_allclose(found_in(source), np.array(TRUTH), atol=2e-2, err_msg=head)


def found_or_refused(path: Path, head: str) -> tuple[Source | None, str]:
    try:
        return brought(path, "detect", head, CLASSES), ""
    except InputError as error:
        return None, str(error)


CORNERS_OF_CELLS = np.concatenate([filled(BOXES, CELLS, 1), filled(scores(CLASSES), CELLS)], 1)
TURNED = np.concatenate([V8, V8[:, :1] / 99 - 0.2], 1).T
UNCLEAR: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("detect", "nanodet", picodet(), r"half a stride away.*; say --head nanodet-plus or --head picodet\. net"),
    ("detect", "ultralytics", {"o": TURNED}, r"answers turned boxes \(OBB\)"),
    ("detect", "ultralytics", {"o": np.concatenate([V8, MASKS], 1).T}, r"key points \(pose\) or mask coeff"),
    ("detect", "ultralytics", {"o": np.concatenate([V8, V8[:, 4:5]], 1).T}, "4 classes .* 3 lines; if the last"),
    ("detect", "ultralytics", {"o": CORNERS_OF_CELLS}, "boxes look like x1, y1, x2, y2"),
    ("detect", "yolo-nas", {"b": filled(centres(BOXES), 20, 1), "s": filled(scores(3), 20)}, "end before they begin"),
    ("detect", "detr", {"boxes": FRACTIONS, "s": background("last")}, "boxes look like x1, y1, x2, y2"),
    ("detect", "detr", {"boxes": CENTRES, "s": filled(scores(4), 20)}, "a sigmoid of its own, as RT-DETR's"),
    ("detect", "detr", {"boxes": CENTRES, "s": background("first")}, "as SSD's background is"),
    (
        "detect",
        "detr",
        {"boxes": CENTRES, "s": filled(scores(3), 20) * 9},
        "rt-detr fits, or --labels with 2 lines",
    ),
    ("detect", "rt-detr", {"boxes": CENTRES, "s": logits(filled(scores(4), 20))}, "4 classes .*; DETR's last"),
    ("detect", "end-to-end", {"o": np.zeros((9, 6), np.float32)}, "--head end-to-end-pixels or --head end-to-end-frac"),
    ("detect", "end-to-end", {"b": BOXES, "l": classes(1), "s": confidence()}, "are 1 to 3: they count from 1"),
    ("detect", "torchvision", {"b": BOXES, "l": classes(), "s": confidence()}, "class 0 is answered"),
    ("detect", "end-to-end", {"o": np.column_stack([rows(), MASKS[:4, :1]])}, "what 1 of 7 columns are"),
    ("detect", "end-to-end", {"o": rows()[:, [0, 1, 2, 3, 5, 4]]}, "score and class are exchanged"),
    ("segment", "", {"o": V8.T, "p": np.zeros((32, 24, 40), np.float32)}, "it segments instances: .*--task detect"),
    ("segment", "", {name: np.ones((3, 24, 40), np.float32) for name in "ab"}, "say which: --output a or --output b"),
    ("classify", "", {"a": confidence()[:3] * 3, "b": confidence()[:3] * 4}, "say which: --output a or --output b"),
)


@pytest.mark.parametrize(("task", "head", "answers", "problem"), UNCLEAR)
def test_what_is_not_clear_is_asked(tmp_path: Path, task: str, head: str, answers: Any, problem: str) -> None:
    path = told(tmp_path / "net.onnx", answers)
    with pytest.raises(InputError, match=problem):
        brought(path, task, head, CLASSES)


def test_outputs_are_chosen_by_name(tmp_path: Path) -> None:
    answers = {name: np.eye(3, dtype=np.float32)[index] * 9 for index, name in enumerate(("feature", "score", "aux"))}
    path = told(tmp_path / "net.onnx", answers)
    source = brought(path, "classify", "", 3, outputs=("score",))
    frames = compare.sample_frames(source.spec, 2)
    (found,) = compare.run_onnx(source.graph, {FRAMES: frames}).values()
    assert found.argmax(1).tolist() == [1, 1]
    with pytest.raises(InvalidOption, match="has no output 'logit'; it has 'feature', 'score' and 'aux'"):
        brought(path, "classify", "", 3, outputs=("logit",))
    with pytest.raises(InputError, match="say which: --output score or --output aux"):
        brought(path, "classify", "", 3, outputs=("score", "aux"))


def test_the_order_of_outputs_says_what_their_shapes_do_not(tmp_path: Path) -> None:
    """Four classes are as wide as a box."""
    first = filled(fractions(BOXES), QUERIES, 0.5)
    second = filled(scores(4), QUERIES)
    path = told(tmp_path / "net.onnx", {"a": first, "b": first[:, [0, 1, 2, 3]], "c": second})
    with pytest.raises(
        InputError, match="several outputs are of this layout; say which: --output a,b or --output a,c or"
    ):
        brought(path, "detect", "yolo-nas", 4)
    source = brought(path, "detect", "yolo-nas", 4, outputs=("b", "c"))
    np.testing.assert_allclose(found_in(source), np.array(TRUTH), atol=2e-2)


def test_labels_with_the_background_first_are_as_many(tmp_path: Path) -> None:
    from exporters.sources.brought.own_network import own_source
    from exporters.sources.brought.settled import Brought

    labels = tmp_path / "voc.txt"
    labels.write_text("BACKGROUND\nred\ngreen\nblue\n")
    for head, answers in (LAYOUTS["SSD"], LAYOUTS["torchvision"]):
        source = own_source("mine", Brought(told(tmp_path / "net.onnx", answers), "detect", labels, head))
        assert [source.spec.labels[int(index)] for index in found_in(source)[:, 5]] == ["blue", "blue", "red", "green"]


def test_boxes_that_are_final_are_not_suppressed(tmp_path: Path) -> None:
    """In the repository that is published, and where accuracy is measured; others are."""
    from exporters import export, making
    from exporters.gate.own_path import OwnPath
    from exporters.publishing.exported import artefacts_in
    from reeltag.frames import geometry_of

    pytest.importorskip("openvino")
    kept = {}
    for layout in ("YOLO-NAS", "DETR", "YOLOv10"):
        head, answers = LAYOUTS[layout]
        source = brought(told(tmp_path / "net.onnx", answers), "detect", head, CLASSES)
        target = tmp_path / layout
        export.export(source, target=target)
        (artefact,) = artefacts_in(target)
        own = OwnPath(artefact)
        assert artefact.spec.view is not None
        outputs = own.run(compare.sample_frames(artefact.spec, 1))
        found = own.detections(outputs, 0, geometry_of(artefact.spec.view, SIDES[1], SIDES[0]))
        backend = NMS_OF_KIND[artefact.passport.nms]
        config = (target / backend / "config.pbtxt").read_text()
        kept[layout] = (artefact.passport.nms, (found[:, 4] > 0.1).sum(), 'string_value: "1.0"' in config)
    assert kept == {"YOLO-NAS": ("python", 3, False), "DETR": ("network", 4, True), "YOLOv10": ("network", 4, True)}
    with pytest.raises(InvalidOption, match="the boxes of mine are final, none is to be suppressed; leave --nms out"):
        export.export(source, export.ExportOptions(making.Making(nms="engine")), target=tmp_path / "engine")


ULTRALYTICS = {
    "author": "Ultralytics",
    "task": "detect",
    "names": "{0: 'car', 1: \"driver's cab\", 2: 'bus'}",
    "imgsz": str(list(SIDES)),
    "stride": "32",
    "batch": "1",
}


def from_file(path: Path, **options: Any) -> Source:
    from exporters.sources.brought.own_network import own_source
    from exporters.sources.brought.settled import Brought

    return own_source("mine", Brought(path, **options))


def test_what_a_file_says_of_itself_need_not_be_said_again(tmp_path: Path) -> None:
    path = told(tmp_path / "net.onnx", {"output0": V8.T}, metadata=ULTRALYTICS, free=True)
    source = from_file(path)
    assert source.spec.labels == ("car", "driver's cab", "bus")
    assert source.spec.input_shape == (*SIDES, 3)
    np.testing.assert_allclose(found_in(source), np.array(TRUTH), atol=2e-2)
    assert "pictures 96x160 (rows x columns), letterbox on 114, RGB, mean 0,0,0, std 255" in source.notes
    final = ULTRALYTICS | {"end2end": "True"}
    source = from_file(told(path, {"output0": filled(rows(), 300)}, metadata=final))
    assert source.spec.is_final
    assert len(found_in(source)) == 4
    pose = ULTRALYTICS | {"task": "pose", "kpt_shape": "[5, 3]"}
    source = from_file(told(path, {"o": np.concatenate([V8, MASKS[:, :15] * 9], 1).T}, metadata=pose), task="detect")
    np.testing.assert_allclose(found_in(source), np.array(TRUTH), atol=2e-2)
    assert "key points are not served" in source.notes


@pytest.mark.parametrize(
    ("said", "options", "problem"),
    [
        ({}, {"task": "classify"}, "its task is detect, not classify; leave --task out"),
        ({"task": "segment"}, {}, "task is segment: each box has masks, which are not served; .*say --task detect"),
        ({"task": "obb"}, {}, "its task is obb: it answers turned boxes"),
        ({"end2end": "True"}, {"head": "none"}, "nothing is to be suppressed any more"),
        ({"names": "['a', 'b']"}, {}, "3 classes apart, and --labels has 2 lines"),
        ({"names": "garbage"}, {}, "--onnx FILE needs --labels"),
        ({"task": ""}, {}, "--onnx FILE needs --task"),
    ],
)
def test_a_file_that_says_otherwise_is_told(tmp_path: Path, said: Any, options: Any, problem: str) -> None:
    answers = {"output0": filled(rows(), 300)} if "end2end" in said else {"output0": V8.T}
    path = told(tmp_path / "net.onnx", answers, metadata=ULTRALYTICS | said)
    with pytest.raises((InputError, InvalidOption), match=problem):
        from_file(path, **options)


def test_labels_beside_the_files_own_names(tmp_path: Path) -> None:
    path = told(tmp_path / "net.onnx", {"output0": V8.T}, metadata=ULTRALYTICS, free=True)
    labels = tmp_path / "own.txt"
    labels.write_text("bus\ncar\ndriver's cab\n")
    with pytest.raises(InputError, match="another order: line 1 is 'bus', and the file's own name 'car'; leave"):
        from_file(path, labels=labels)
    labels.write_text("Auto\nKabine\nBus\n")
    source = from_file(path, labels=labels)
    assert source.spec.labels == ("Auto", "Kabine", "Bus")
    assert "names of --labels instead of the file's: line 1 is 'Auto'" in source.notes
    with pytest.raises(InputError, match=r"has 4 lines, and net\.onnx names 3 classes"):
        from_file(path, labels=labelled(tmp_path, 4))
