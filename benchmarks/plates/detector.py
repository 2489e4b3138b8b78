"""A detector of one class that is learned from drawn pictures in a minute, as an ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from benchmarks.plates.vehicle import Box, Picture

Sample = Callable[[np.random.Generator, int, int], tuple[Picture, list[Box]]]
_BATCH: Final = 10
_KEPT: Final = 40


class SmallDetector(nn.Module):
    """Convolutions down to cells of 16 pixels, each with a box and a score; what it finds is for `--head none`.

    Args:
        height: Of the input, a multiple of 16.
        width: Likewise.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 64)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
        for spread in (1, 2, 4, 1):
            layers += [nn.Conv2d(64, 64, 3, 1, spread, spread), nn.BatchNorm2d(64), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(64, 5, 1))
        rows, columns = torch.meshgrid(torch.arange(height // 16), torch.arange(width // 16), indexing="ij")
        self.register_buffer("middles", torch.stack((columns, rows)).flatten(1) * 16.0 + 8.0)

    def forward(self, pictures: Any) -> Any:
        """`[N, 3, H, W]`, 0 to 1, to `[N, K, 6]`: x1, y1, x2, y2 in pixels, score, class 0; the best first."""
        centre, size, score = self.cells(pictures).transpose(1, 2).split((2, 2, 1), 2)
        rows = torch.cat((centre - size / 2, centre + size / 2, score, torch.zeros_like(score)), 2)
        best = score[..., 0].topk(min(_KEPT, score.shape[1]), 1)[1]
        return rows[torch.arange(len(pictures))[:, None], best]  # OpenVINO refuses an expanded gather

    def cells(self, pictures: Any) -> Any:
        """To `[N, 5, cells]`: centre, width and height in pixels, score."""
        found = self.layers(pictures).flatten(2)
        centre = self.middles + 16.0 * found[:, :2]
        return torch.cat((centre, 32.0 * torch.exp(found[:, 2:4].clamp(-4, 4)), found[:, 4:].sigmoid()), 1)


def learn(sample: Sample, height: int, width: int, steps: int, seed: int) -> SmallDetector:
    """A detector that has seen `steps` batches of 10 drawn pictures."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = SmallDetector(height, width)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, steps)
    for _ in range(steps):
        drawn = [sample(random, height, width) for _ in range(_BATCH)]
        pictures = torch.from_numpy(np.stack([picture for picture, _ in drawn])).permute(0, 3, 1, 2) / 255.0
        loss = _loss(network.cells(pictures), [boxes for _, boxes in drawn], network.middles)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pace.step()
    return network.eval()


def _loss(found: Any, boxes: list[list[Box]], middles: Any) -> Any:
    """The score of the cells in the middle of a box is 1, of others 0; between them it is nobody's matter."""
    wanted = torch.zeros_like(found[:, 4])
    weight = torch.ones_like(wanted)
    off = found.new_zeros(())
    for picture, ones in enumerate(boxes):
        for x1, y1, x2, y2 in ones:
            middle, size = torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2]), torch.tensor([x2 - x1, y2 - y1])
            pixels = (middles - middle[:, None]).abs()
            away = pixels / size[:, None]
            weight[picture, (away < 0.22).all(0) | (pixels < 16).all(0)] = 0.0
            inside = (away < 0.1).all(0)
            inside[(away**2).sum(0).argmin()] = True
            wanted[picture, inside], weight[picture, inside] = 1.0, 6.0
            box = found[picture, :4, inside]
            side = size.repeat(2)[:, None]
            truth = torch.cat((middle, size))[:, None]
            off = off + ((box[:2] - truth[:2]) / side[:2]).abs().mean() + (box[2:] / truth[2:]).log().abs().mean()
    scored = nn.functional.binary_cross_entropy(found[:, 4], wanted, weight)
    return scored + off / len(boxes)


def save(network: SmallDetector, height: int, width: int, path: Path) -> None:
    """Write it as ONNX with a free batch."""
    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(network, (torch.zeros(2, 3, height, width),), str(path), dynamic_shapes=(batch,), verbose=False)
