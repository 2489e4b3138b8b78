"""Small networks with the output layouts of published ones, as their owners export them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from exporters.sources.brought.own_network import own_source
from exporters.sources.brought.settled import Brought
from exporters.sources.source import Source

SIDES = (160, 224)
"""Rows and columns."""


def _features(inputs: int, outputs: int, stride: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.SiLU())


class Detector(nn.Module):
    """Three grids, and for each a convolution whose channels `layout` brings into its own form."""

    def __init__(self, layout: str, classes: int, strides: tuple[int, ...] = (8, 16, 32)) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layout, self.classes, self.strides = layout, classes, strides
        channels = {"v5": 3 * (5 + classes), "v8": 4 + classes, "nanodet": classes + 32}.get(layout, 5 + classes)
        self.stem = nn.Sequential(_features(3, 8), _features(8, 16), _features(16, 16))
        self.steps = nn.ModuleList(_features(16, 16) for _ in strides[1:])
        self.heads = nn.ModuleList(nn.Conv2d(16, channels, 1) for _ in strides)
        for head in self.heads:
            assert isinstance(head, nn.Conv2d)
            nn.init.normal_(head.weight, std=0.5)

    def forward(self, images: Tensor) -> Tensor:
        levels = [self.stem(images)]
        for step in self.steps:
            levels.append(step(levels[-1]))
        rows = []
        for stride, head, level in zip(self.strides, self.heads, levels, strict=True):
            maps = head(level)
            y, x = torch.meshgrid(torch.arange(maps.shape[2]), torch.arange(maps.shape[3]), indexing="ij")
            corners = torch.stack([x, y], 2).float().view(1, -1, 2)
            rows.append(getattr(self, f"_{self.layout}")(maps, corners, stride))
        joined = torch.cat(rows, 1)
        return joined.transpose(1, 2) if self.layout == "v8" else joined

    def _raw(self, maps: Tensor, corners: Tensor, stride: int) -> Tensor:
        cells = maps.flatten(2).transpose(1, 2)
        return torch.cat([cells[..., :2].sigmoid(), cells[..., 2:4].tanh(), cells[..., 4:].sigmoid()], 2)

    def _decoded(self, maps: Tensor, corners: Tensor, stride: int) -> Tensor:
        cells = self._raw(maps, corners, stride)
        return torch.cat([(cells[..., :2] + corners) * stride, cells[..., 2:4].exp() * stride, cells[..., 4:]], 2)

    def _v8(self, maps: Tensor, corners: Tensor, stride: int) -> Tensor:
        cells = maps.flatten(2).transpose(1, 2)
        sides = cells[..., :4].sigmoid() * 4
        low, high = corners + 0.5 - sides[..., :2], corners + 0.5 + sides[..., 2:]
        return torch.cat([(low + high) / 2 * stride, (high - low) * stride, cells[..., 4:].sigmoid()], 2)

    def _v5(self, maps: Tensor, corners: Tensor, stride: int) -> Tensor:
        cells = maps.view(maps.shape[0], 3, 5 + self.classes, -1).sigmoid().transpose(2, 3)
        centres = (cells[..., :2] * 2 + corners - 0.5) * stride
        return torch.cat([centres, (cells[..., 2:4] * 2) ** 2 * stride, cells[..., 4:]], 3).flatten(1, 2)

    def _nanodet(self, maps: Tensor, corners: Tensor, stride: int) -> Tensor:
        cells = maps.flatten(2).transpose(1, 2)
        return torch.cat([cells[..., : self.classes].sigmoid(), cells[..., self.classes :]], 2)


class Classifier(nn.Module):
    """Logits, or what `last` makes of them."""

    def __init__(self, classes: int, last: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.features = nn.Sequential(_features(3, 8), _features(8, 8))
        self.linear = nn.Linear(8, classes)
        nn.init.normal_(self.linear.weight, std=3)
        self.last = last or nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.last(self.linear(self.features(images).mean((2, 3))))
        return scores


class Segmenter(nn.Module):
    """Scores of each class at a quarter of the input, or the classes."""

    def __init__(self, classes: int, *, is_map: bool = False) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layers = nn.Sequential(_features(3, 8), nn.Conv2d(8, classes, 3, 2, 1))
        self.is_map = is_map

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images)
        return scores.argmax(1) if self.is_map else scores


class ByRows(nn.Module):
    """A network that takes `(N, H, W, 3)`, of bytes if it is to cast them, and perhaps answers so."""

    def __init__(self, network: nn.Module, *, casts: bool = False, answers_rows: bool = False) -> None:
        super().__init__()
        self.network, self.casts, self.answers_rows = network, casts, answers_rows

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.float() / 255 if self.casts else images
        answer: Tensor = self.network(pixels.permute(0, 3, 1, 2))
        return answer.permute(0, 2, 3, 1) if self.answers_rows else answer


class Suppressed(nn.Module):
    """Ten boxes a picture, best first, as an end-to-end detector answers them."""

    def forward(self, images: Tensor) -> Tensor:
        rows = torch.arange(10.0)
        boxes = torch.stack([rows * 2, rows, rows * 2 + 20, rows + 30, 0.9 - rows / 20, rows % 3], 1)
        return boxes[None] + images.mean((1, 2, 3)).view(-1, 1, 1) * 0


class Mixing(nn.Module):
    """Answers each picture by what else is in its batch."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)).softmax(0) * 9


class Squeezed(nn.Module):
    """Without the batch axis, as `[0]` in an exported forward makes it."""

    def forward(self, images: Tensor) -> Tensor:
        return images[0].mean((1, 2))


class Determinant(nn.Module):
    """An operator of ONNX that not every runtime has."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, :3, :3].det()


def exported(
    path: Path,
    network: nn.Module,
    example: Tensor | None = None,
    *,
    opset: int = 17,
    free: tuple[int, ...] = (0,),
    outputs: tuple[str, ...] = ("output0",),
) -> Path:
    """The network as ONNX; `free` are the sides of its input `images` that stay open."""
    names = {0: "batch", 1: "channels", 2: "rows", 3: "columns"}
    axes: Any = {"images": {side: names[side] for side in free}} | {name: {0: "batch"} for name in outputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that traces is deprecated
        torch.onnx.export(
            network.eval(),
            (torch.rand(1, 3, *SIDES) if example is None else example,),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=["images"],
            output_names=list(outputs),
            dynamic_axes=axes if free else None,
        )
    return path


def labelled(folder: Path, count: int) -> Path:
    """A file of so many class names."""
    path = folder / f"labels{count}.txt"
    path.write_text("".join(f"class {index}\n" for index in range(count)))
    return path


def brought(path: Path, task: Any, head: str, labels: int, **options: Any) -> Source:
    """The file as `reeltag export --onnx` takes it."""
    return own_source("mine", Brought(path, task, labelled(path.parent, labels), head, **options))
