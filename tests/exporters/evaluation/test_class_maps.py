from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from exporters.catalogue.entries import model_spec
from exporters.evaluation import Confusion, read_class_maps
from exporters.evaluation.pictures import draw_confusion
from exporters.evaluation.segmentation import add_picture, to_source
from reeltag.errors import InputError
from reeltag.frames import Fit, View, geometry_of

CITYSCAPES = model_spec("swiftnet_rn18").labels
ROAD, CAR = CITYSCAPES.index("road"), CITYSCAPES.index("car")


def write(path: Path, values: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def cityscapes(folder: Path, ids: npt.NDArray[np.uint8], *, ending: str = "labelIds", city: str = "ulm") -> Path:
    name = f"{city}_000000_000019"
    write(folder / "leftImg8bit" / "val" / city / f"{name}_leftImg8bit.png", np.zeros((*ids.shape, 3), np.uint8))
    write(folder / "gtFine" / "val" / city / f"{name}_gtFine_{ending}.png", ids)
    return folder


def test_label_ids_become_the_evaluated_classes(tmp_path: Path) -> None:
    dataset = read_class_maps(*[cityscapes(tmp_path, np.array([[7, 26, 0], [33, 4, 255]], np.uint8))] * 2)
    assert dataset.labels == CITYSCAPES
    expected = [[ROAD, CAR, 255], [CITYSCAPES.index("bicycle"), 255, 255]]
    np.testing.assert_array_equal(dataset.truth(0, 19), expected)


def test_train_ids_are_taken_as_they_are_and_first(tmp_path: Path) -> None:
    cityscapes(tmp_path, np.array([[7, 26]], np.uint8))
    cityscapes(tmp_path, np.array([[3, 255]], np.uint8), ending="labelTrainIds")
    dataset = read_class_maps(tmp_path / "leftImg8bit", tmp_path / "gtFine")
    np.testing.assert_array_equal(dataset.truth(0, 19), [[3, 255]])


@pytest.mark.parametrize(("ending", "value"), [("labelIds", 34), ("labelIds", 200), ("labelTrainIds", 19)])
def test_values_that_are_no_class(tmp_path: Path, ending: str, value: int) -> None:
    dataset = read_class_maps(*[cityscapes(tmp_path, np.full((2, 2), value, np.uint8), ending=ending)] * 2)
    with pytest.raises(InputError, match=rf"{ending}\.png holds the value {value}"):
        dataset.truth(0, 19)


def test_pictures_without_a_class_map_are_named(tmp_path: Path) -> None:
    cityscapes(tmp_path, np.zeros((2, 2), np.uint8))
    write(tmp_path / "leftImg8bit" / "val" / "bonn" / "bonn_1_leftImg8bit.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(InputError, match=r"1 of 2 .* first bonn_1_leftImg8bit\.png.*bonn_1_gtFine_labelIds\.png"):
        read_class_maps(tmp_path, tmp_path)


def test_plain_folders_of_equal_names(tmp_path: Path) -> None:
    write(tmp_path / "pictures" / "a.png", np.zeros((2, 3, 3), np.uint8))
    write(tmp_path / "maps" / "a.png", np.array([[0, 1, 2], [1, 255, 0]], np.uint8))
    dataset = read_class_maps(tmp_path / "pictures", tmp_path / "maps")
    np.testing.assert_array_equal(dataset.truth(0, 3), [[0, 1, 2], [1, 255, 0]])
    with pytest.raises(InputError, match="holds the value 2; there are 0 to 1"):
        dataset.truth(0, 2)
    assert dataset.class_indexes(("x", "y", "z"))[:4].tolist() == [0, 1, 2, 255]


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        read_class_maps(tmp_path / "none", tmp_path)
    with pytest.raises(InputError, match="no pictures"):
        read_class_maps(tmp_path, tmp_path)


def test_a_picture_in_colour_is_no_class_map(tmp_path: Path) -> None:
    write(tmp_path / "pictures" / "a.png", np.zeros((2, 3, 3), np.uint8))
    write(tmp_path / "maps" / "a.png", np.zeros((2, 3, 3), np.uint8))
    dataset = read_class_maps(tmp_path / "pictures", tmp_path / "maps")
    with pytest.raises(InputError, match="not those in colour"):
        dataset.truth(0, 2)


def test_a_class_map_of_another_size(tmp_path: Path) -> None:
    dataset = read_class_maps(*[cityscapes(tmp_path, np.full((2, 4), 7, np.uint8))] * 2)
    with pytest.raises(InputError, match=r"2x5 pixels, but its class map .* has 2x4"):
        add_picture(Confusion(CITYSCAPES), dataset, 0, np.zeros((2, 5), np.uint8))


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    dataset = read_class_maps(*[cityscapes(tmp_path, np.zeros((2, 2), np.uint8))] * 2)
    table = dataset.class_indexes(("nothing like it", "car", "road"))
    assert table[:3].tolist() == [255, CAR, ROAD]
    with pytest.raises(InputError, match="names must be equal"):
        dataset.class_indexes(("cat", "dog"))


MAPS = st.lists(st.tuples(st.sampled_from([0, 1, 2, 255]), st.sampled_from([0, 1, 2, 255])), min_size=1, max_size=60)


@given(MAPS, MAPS)
def test_confusion_is_what_counting_gives(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    confusion = Confusion(("a", "b", "c"))
    for picture in (first, second):
        truth, found = np.array(picture, np.uint8).T[:, None]
        confusion.add(truth, found)
    pairs = [pair for pair in [*first, *second] if pair[0] != 255]
    overlaps = {}
    for index, name in enumerate(confusion.labels):
        union = sum(index in pair for pair in pairs)
        if union:
            overlaps[name] = pairs.count((index, index)) / union
    assert {one.name: one.iou for one in confusion.classes} == pytest.approx(overlaps)
    assert confusion.mean_iou == pytest.approx(sum(overlaps.values()) / len(overlaps) if overlaps else 0)
    right = sum(true == found for true, found in pairs)
    assert confusion.pixel_accuracy == pytest.approx(right / len(pairs) if pairs else 0)
    assert confusion.pixels == len(pairs)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([Fit.LETTERBOX, Fit.LETTERBOX_TOP_LEFT]))
def test_a_class_map_comes_back_to_its_picture(height: int, width: int, fit: Fit) -> None:
    view = View(fit, 24, 48)
    geometry = geometry_of(view, width, height)
    class_map = np.full((24, 48), 255, np.uint8)
    class_map[geometry.picture] = 4
    back = to_source(class_map, geometry)
    assert back.shape == (height, width)
    assert (back == 4).all()


def test_each_source_pixel_gets_the_class_of_the_nearest() -> None:
    halves = np.repeat(np.array([[0, 1]], np.uint8), 4, 0).repeat(4, 1)
    back = to_source(halves, geometry_of(View(Fit.LETTERBOX, 4, 8), 16, 8))
    np.testing.assert_array_equal(back, np.repeat(np.array([[0, 1]], np.uint8), 8, 0).repeat(8, 1))


def test_confusion_is_drawn_and_written(tmp_path: Path) -> None:
    confusion = Confusion(CITYSCAPES)
    confusion.add(np.array([[0, 1, 1]], np.uint8), np.array([[0, 1, 255]], np.uint8))
    draw_confusion(confusion, tmp_path / "confusion.png")
    with Image.open(tmp_path / "confusion.png") as picture:
        assert min(picture.size) > 300
    assert json.loads(json.dumps(confusion.to_dict()))["pixel accuracy"] == pytest.approx(2 / 3)
