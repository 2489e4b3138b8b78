"""YOLOX against its published table and checkpoint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporters.catalogue import entries
from exporters.catalogue.entries import CHECKPOINT_MODELS
from reeltag.errors import InvalidOption

torch: Any = pytest.importorskip("torch")

PUBLISHED_SIZES = {
    "yolox_nano": (0.91, 1.08),
    "yolox_tiny": (5.06, 6.45),
    "yolox_s": (9.0, 26.8),
    "yolox_m": (25.3, 73.8),
    "yolox_l": (54.2, 155.6),
    "yolox_x": (99.1, 281.9),
    "yolox_darknet53": (63.7, 185.3),
}
"""Millions of parameters, and billions of floating-point operations at the table's input size."""


def billions_of_operations(network: Any, side: int) -> float:
    """As the published table counts: two for a multiply-add, four for each value of a batch norm, two of leaky ReLU."""
    from torch.utils.flop_counter import FlopCounterMode

    others = 0

    def count(module: Any, _: Any, output: Any) -> None:
        nonlocal others
        if isinstance(module, torch.nn.BatchNorm2d):
            others += 4 * output.numel()
        elif isinstance(module, torch.nn.LeakyReLU):
            others += 2 * output.numel()

    for module in network.modules():
        module.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, side, side, device="meta"))
    return float(counter.get_total_flops() + others) / 1e9


@pytest.mark.parametrize("name", list(PUBLISHED_SIZES))
def test_parameters_and_operations_are_those_of_the_published_table(name: str) -> None:
    spec = CHECKPOINT_MODELS[name]
    with torch.device("meta"):
        network = entries.network(name)
    parameters = sum(weights.numel() for weights in network.parameters())
    millions, billions = PUBLISHED_SIZES[name]
    digits = 1 if millions >= 9 else 2
    assert parameters == spec.parameters
    assert round(parameters / 1e6, digits) == millions
    assert round(billions_of_operations(network, spec.width), digits) == billions


@pytest.mark.parametrize("name", ["yolox_nano", "yolox_darknet53"])
def test_every_cell_has_a_box_an_objectness_and_any_number_of_classes(name: str) -> None:
    with torch.device("meta"):
        answer = entries.network(name, 7)(torch.empty(2, 3, 64, 96))
    assert answer.shape == (2, 8 * 12 + 4 * 6 + 2 * 3, 5 + 7)


def test_cells_come_by_stride_and_row_by_row() -> None:
    network: Any = entries.network("yolox_nano", 1)
    images = torch.rand(1, 3, 64, 96) * 255
    with torch.inference_mode():
        answer, maps = network(images), network.head_maps(images)
    row, column = 1, 2
    cell = 8 * 12 + row * 6 + column
    torch.testing.assert_close(answer[0, cell, :4], maps[1][0, :4, row, column])
    torch.testing.assert_close(answer[0, cell, 4:], maps[1][0, 4:, row, column].sigmoid())


def test_the_published_checkpoint_loads_strictly_and_finds_the_teddy_bear(shared: Path) -> None:
    import cv2
    import numpy as np

    from exporters.sources.checkpoint import load_network

    network = load_network("yolox_nano", shared / "models" / "yolox_nano_coco.pth")
    published = torch.load(shared / "models" / "yolox_nano_coco.pth", weights_only=True)["model"]
    assert list(network.state_dict()) == list(published)
    picture = cv2.imread(str(sorted((shared / "data" / "coco128" / "val2017").glob("*.jpg"))[2]))
    assert picture is not None
    images = np.ascontiguousarray(cv2.resize(picture, (416, 416)).transpose(2, 0, 1)[None], np.float32)
    with torch.inference_mode():
        cells = network(torch.from_numpy(images))[0]
    scores = cells[:, 4:5] * cells[:, 5:]
    assert entries.model_spec("yolox_nano").labels[int(scores.max(0).values.argmax())] == "teddy bear"
    assert scores.max() > 0.5


def test_the_exported_form_answers_the_same() -> None:
    from exporters.networks.yolox import HeadMaps

    network: Any = entries.network("yolox_s", 3)
    images = torch.rand(1, 3, 64, 64) * 255
    with torch.inference_mode():
        for expected, found in zip(network.head_maps(images), HeadMaps(network)(images), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_activations_replace_the_published_one() -> None:
    with torch.device("meta"):
        for activation, kind in (("mish", torch.nn.Mish), ("relu", torch.nn.ReLU), (None, torch.nn.SiLU)):
            network = entries.network("yolox_nano", activation=activation)
            assert any(isinstance(module, kind) for module in network.modules())
        assert not any(
            isinstance(module, torch.nn.SiLU) for module in entries.network("yolox_nano", activation="relu").modules()
        )


def test_wrong_options_say_what_would_be_right() -> None:
    with pytest.raises(InvalidOption, match="there are: silu, mish, relu"):
        entries.network("yolox_nano", activation="swish")
    with pytest.raises(InvalidOption, match="at least 1"):
        entries.network("yolox_nano", 0)
    with pytest.raises(InvalidOption, match="not built from a checkpoint; these are: yolox_nano"):
        entries.network("nanodet_g")
    with pytest.raises(ValueError, match=r"64x100 pixels \(rows x columns\); both must be multiples of 32"):
        entries.network("yolox_nano")(torch.empty(1, 3, 64, 100))


def test_the_catalogue_imports_no_torch() -> None:
    code = "import sys, exporters.catalogue.entries, exporters.publishing.repository; sys.exit('torch' in sys.modules)"
    root = Path(entries.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0
