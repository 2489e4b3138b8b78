"""What a precision, and nearest upsampling, cost a SwiftNet that was trained.

    python -m benchmarks.segmentation_precision IMAGES ANNOTATIONS CALIBRATION

Weights of SwiftNet are on no registry, and random ones have no accuracy to lose. So one is trained here, for some
minutes, on photographs of COCO whose boxes are painted into class maps. It learns little that holds for other
pictures, so it is measured on those that it was trained on: what is compared is one precision with another.
Calibration is on others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from torch.nn import functional

from exporters.bench.seminar import SEGMENTER_SIZES
from exporters.catalogue import entries
from exporters.evaluation import read_class_maps
from exporters.export import ExportOptions, export
from exporters.gate.stages import Losses
from exporters.machine import processor
from exporters.making import Making
from exporters.precision.calibration import pictures_in, read_pictures
from exporters.precision.convert import Precision
from exporters.sources.checkpoint_source import Checkpoint, checkpoint_source
from reeltag.areas import NO_CLASS, ClassMap
from reeltag.commands.common import results
from reeltag.frames import Fit, View, geometry_of

NAME: Final = "swiftnet_rn18"
LABELS: Final = ("background", "person", "vehicle", "animal", "thing")
_VEHICLES: Final = ("bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat")
_ANIMALS: Final = ("bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
SIZE: Final = (256, 256)
VARIANTS: Final[tuple[tuple[str, Precision], ...]] = (
    ("bilinear", "fp32"),
    ("bilinear", "bf16"),
    ("bilinear", "int8"),
    ("nearest", "fp32"),
)
"""Upsampling and precision."""
_BATCH: Final = 8
_ANY_LOSS: Final = 100.0


def main() -> None:
    """Train, export in each precision, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segmentation_precision", description=__doc__)
    parser.add_argument("images", type=Path, help="folder of photographs to train and measure on")
    parser.add_argument("annotations", type=Path, help="their COCO JSON")
    parser.add_argument("calibration", type=Path, help="folder of others")
    parser.add_argument("--minutes", type=float, default=6.0, help="of training (6)")
    options = parser.parse_args()
    table = Table(title=processor(), title_justify="left")
    for column in ("upsampling", "precision", "mIoU in PyTorch", "served", "loss", "tensors"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as folder:
        truths = painted(options.images, options.annotations, Path(folder) / "truths")
        trained = train(options.images, truths, Path(folder) / "trained.pth", options.minutes)
        for upsampling, precision in VARIANTS:
            losses = measured(trained, upsampling, precision, options, truths)
            row = (f"{losses.reference:.2f}", f"{losses.measured:.2f}", f"{losses.lost:+.2f}", losses.tensors)
            table.add_row(upsampling, precision, *row)
        results.print(table)
        for size in SEGMENTER_SIZES:
            source = checkpoint_source(NAME, Checkpoint(trained, labels=_labels(trained), size=size))
            print(f"{size[0]}x{size[1]}, fp32 graph and PyTorch: {source.agreement()}")


def painted(images: Path, annotations: Path, folder: Path) -> Path:
    """Class maps of COCO's boxes, the large ones below the small ones, as PNG files named as the photographs."""
    folder.mkdir()
    content: dict[str, Any] = json.loads(annotations.read_text("utf-8"))
    indexes = {"person": 1, **dict.fromkeys(_VEHICLES, 2), **dict.fromkeys(_ANIMALS, 3)}
    classes = {category["id"]: indexes.get(category["name"], 4) for category in content["categories"]}
    for image in content["images"]:
        truth = np.zeros((image["height"], image["width"]), np.uint8)
        boxes = [one for one in content["annotations"] if one["image_id"] == image["id"] and not one["iscrowd"]]
        for box in sorted(boxes, key=lambda one: -one["bbox"][2] * one["bbox"][3]):
            x, y, width, height = (round(value) for value in box["bbox"])
            truth[y : y + height, x : x + width] = classes[box["category_id"]]
        Image.fromarray(truth).save(folder / f"{Path(image['file_name']).stem}.png")
    return folder


def train(images: Path, truths: Path, file: Path, minutes: float) -> Path:
    """Train from scratch; the checkpoint is as that of a user."""
    torch.manual_seed(0)
    view = View(Fit.LETTERBOX, *SIZE)
    files = [file for file in pictures_in(images) if (truths / f"{file.stem}.png").is_file()]
    frames = torch.from_numpy(read_pictures(files, view).frames)
    targets = torch.from_numpy(np.stack([_fitted(truths / f"{file.stem}.png", view) for file in files]))
    network = entries.network(NAME, num_classes=len(LABELS)).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    began = time.monotonic()
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - share)
        chosen = torch.randperm(len(files))[:_BATCH]
        pictures, expected = frames[chosen].permute(0, 3, 1, 2).float(), targets[chosen].long()
        if torch.rand(()) < 0.5:
            pictures, expected = pictures.flip(-1), expected.flip(-1)
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(pictures), expected, ignore_index=NO_CLASS)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    print(f"trained for {minutes:g} minutes, the last loss was {loss.item():.3f}")
    torch.save({"model": network.eval().state_dict()}, file)
    return file


def measured(trained: Path, upsampling: str, precision: Precision, options: argparse.Namespace, truths: Path) -> Losses:
    """What the exported network loses, through a server of its own."""
    source = checkpoint_source(NAME, Checkpoint(trained, labels=_labels(trained), size=SIZE, upsampling=upsampling))
    wanted = ExportOptions(
        Making(precision),
        calibration=None if precision == "fp32" else options.calibration,
        annotated=read_class_maps(options.images, truths),
        max_drop=_ANY_LOSS,
    )
    with tempfile.TemporaryDirectory() as target:
        report = export(source, wanted, target=Path(target))
    assert report.gate is not None
    return report.gate.losses


def _labels(trained: Path) -> Path:
    file = trained.with_name("labels.txt")
    file.write_text("\n".join(LABELS), "utf-8")
    return file


def _fitted(truth: Path, view: View) -> ClassMap:
    """A class map as the network sees the picture; the border does not count."""
    picture = Image.open(truth)
    rows, columns = geometry_of(view, *picture.size).picture
    fitted = np.full((view.height, view.width), NO_CLASS, np.uint8)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    fitted[rows, columns] = np.asarray(picture.resize(size, Image.Resampling.NEAREST))
    return fitted


if __name__ == "__main__":
    main()
