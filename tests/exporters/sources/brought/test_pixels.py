"""Segmenters: scores before or behind rows and columns, one channel that tells two classes apart, grey pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from reeltag import contract
from reeltag.errors import InputError, InvalidOption

torch: Any = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from exporters.graphs import compare  # noqa: E402  # needs torch
from exporters.sources.source import Source  # noqa: E402
from tests.exporters.sources.brought.others_networks import (  # noqa: E402
    SIDES,
    ByRows,
    Classifier,
    Segmenter,
    brought,
    exported,
)


class Behind(torch.nn.Module):  # type: ignore[misc]  # torch may be missing
    """A segmenter with something behind it."""

    def __init__(self, network: Any, last: Any) -> None:
        super().__init__()
        self.network, self.last = network, last

    def forward(self, images: Any) -> Any:
        return self.last(self.network(images))


def pixels(source: Source, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    answers = compare.run_onnx(source.graph, {contract.FRAMES: frames})
    maps = answers[contract.CLASS_MAP]
    shares = np.stack([(maps == index).mean((1, 2)) for index in range(len(source.spec.labels))], 1)
    np.testing.assert_allclose(answers[contract.SHARES], shares, atol=1e-6)
    return np.asarray(maps, np.uint8)


def enlarged(network: Any, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        scores = network.eval()(torch.from_numpy(images))
        found: npt.NDArray[np.float32] = torch.nn.functional.interpolate(scores, SIDES, mode="bilinear").numpy()
    return found


@pytest.mark.parametrize("batch", [(0,), ()])
@pytest.mark.parametrize(
    ("last", "head", "description"),
    [
        (torch.nn.Identity(), "", "logits of the second class at 40x56"),
        (torch.nn.Identity(), "sigmoid", "logits of the second class at 40x56"),
        (torch.nn.Sigmoid(), "", "probabilities of the second class at 40x56"),
        (torch.nn.Flatten(1, 2), "", "logits of the second class at 40x56"),  # (N, 1, h, w) to (N, h, w)
    ],
)
def test_one_channel_tells_two_classes_apart(
    tmp_path: Path, last: Any, head: str, description: str, batch: tuple[int, ...]
) -> None:
    path = exported(tmp_path / "net.onnx", Behind(Segmenter(1), last), free=batch)
    source = brought(path, "segment", head, 2)
    assert description in source.notes
    frames = compare.sample_frames(source.spec, 3)
    scores = enlarged(Segmenter(1), compare.normalised(source.spec, frames))[:, 0]
    # Probabilities are enlarged as they are, which moves the border between two pixels a little.
    allowed = 0.02 if "probabilities" in description else 1e-4
    assert (pixels(source, frames) != (scores > 0)).mean() < allowed
    assert 0.1 < (scores > 0).mean() < 0.9
    assert "class maps differ in" in source.agreement()


def test_a_channel_from_0_to_1_may_be_before_the_sigmoid_all_the_same(tmp_path: Path) -> None:
    path = exported(tmp_path / "net.onnx", Behind(Segmenter(1), torch.nn.Sigmoid()))
    source = brought(path, "segment", "sigmoid", 2)
    assert (pixels(source, compare.sample_frames(source.spec, 2)) == 1).all()


@pytest.mark.parametrize("classes", [1, 5])
def test_rows_of_pixels_are_taken_as_they_come(tmp_path: Path, classes: int) -> None:
    """As networks of TensorFlow have it, in and out."""
    network = ByRows(Segmenter(classes), answers_rows=True)
    path = exported(tmp_path / "net.onnx", network, torch.rand(1, *SIDES, 3), free=())
    source = brought(path, "segment", "", classes)
    frames = compare.sample_frames(source.spec, 3)
    scores = enlarged(Segmenter(classes), compare.normalised(source.spec, frames))
    expected = scores.argmax(1) if classes > 1 else scores[:, 0] > 0
    assert (pixels(source, frames) != expected).mean() < 1e-4
    assert len(source.spec.labels) == max(classes, 2)


def test_a_mask_that_is_cut_already_is_a_class_map(tmp_path: Path) -> None:
    class Cut(torch.nn.Module):  # type: ignore[misc]
        def forward(self, scores: Any) -> Any:
            return scores > 0

    source = brought(exported(tmp_path / "net.onnx", Behind(Segmenter(1), Cut())), "segment", "", 1)
    assert "a class map of 40x56" in source.notes
    assert source.spec.labels == ("background", "class 0")
    frames = compare.sample_frames(source.spec, 2)
    with torch.inference_mode():
        mask = (Segmenter(1)(torch.from_numpy(compare.normalised(source.spec, frames)))[:, 0] > 0).numpy()
    np.testing.assert_array_equal(pixels(source, frames), mask.repeat(4, 1).repeat(4, 2))


def test_one_channel_needs_two_names(tmp_path: Path) -> None:
    path = exported(tmp_path / "net.onnx", Segmenter(1))
    with pytest.raises(
        InputError, match=r"tells 2 classes apart, and --labels has 3 lines.*give --labels with 2 lines"
    ):
        brought(path, "segment", "", 3)
    with pytest.raises(InputError, match="is no class map: values are not whole; leave --head out"):
        brought(path, "segment", "none", 2)


@pytest.mark.parametrize("rows", [False, True])
def test_grey_pictures_are_made_of_colours(tmp_path: Path, rows: bool) -> None:
    """As Pillow and OpenCV make them, which round to whole grey levels."""
    network: Any = Classifier(4)
    network.features[0][0] = torch.nn.Conv2d(1, 8, 3, 2, 1)
    example = torch.rand(1, *SIDES, 1) if rows else torch.rand(1, 1, *SIDES)
    path = exported(tmp_path / "net.onnx", ByRows(network) if rows else network, example, free=())
    source = brought(path, "classify", "", 4, mean=(127.5,) * 3, std=(63.75,) * 3)
    assert "grey, mean 127.5,127.5,127.5" in source.notes
    frames = compare.sample_frames(source.spec, 3)
    grey = np.stack([np.asarray(Image.fromarray(frame).convert("L"), np.float32) for frame in frames])
    with torch.inference_mode():
        scores = network.eval()(torch.from_numpy((grey[:, None] - 127.5) / 63.75)).numpy()
    found = compare.run_onnx(source.graph, {contract.FRAMES: frames})[contract.SCORES]
    np.testing.assert_allclose(found, compare.softmax(scores), atol=0.01)
    assert "scores within" in source.agreement()


def test_what_grey_pictures_were_trained_on_is_asked(tmp_path: Path) -> None:
    path = exported(tmp_path / "net.onnx", torch.nn.Conv2d(1, 5, 3, 4), torch.rand(1, 1, *SIDES))
    with pytest.raises(InvalidOption, match=r"takes one channel, grey, .* say --mean and --std, one number each"):
        brought(path, "segment", "", 5)
    with pytest.raises(InvalidOption, match="grey, which has no order; leave --channel-order out"):
        brought(path, "segment", "", 5, channel_order="BGR")
