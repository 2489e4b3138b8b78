"""Networks whose batch is fixed when they are exported as torch does it by default today."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.exporters.sources.brought.others_networks import Detector

SIDE = 64


class Attention(nn.Module):
    """A small vision transformer: a class token beside the patches, attention as torch has it."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        width = 16
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, (SIDE // 16) ** 2 + 1, width))
        self.before = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.last = nn.Linear(width, classes)
        nn.init.normal_(self.patches.weight, std=0.5)
        nn.init.normal_(self.last.weight, std=2)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), tokens], 1) + self.places
        even = self.before(tokens)
        scores: Tensor = self.last((tokens + self.attention(even, even, even, need_weights=False)[0])[:, 0])
        return scores


class Together(nn.Module):
    """Answers a picture otherwise where others are with it, as normalisation by the batch does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.network(images * (0.5 + images.mean((0, 2, 3), keepdim=True)))
        return answer


def together_detector(classes: int) -> nn.Module:
    """A detector that is right for one picture alone."""
    return Together(Detector("v8", classes))


def default_export(path: Path, network: nn.Module, example: Tensor) -> Path:
    """As `torch.onnx.export` does it when nothing is said: its batch is the example's, weights lie beside it."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(network.eval(), (example,), path, verbose=False)
    finally:
        logging.disable(logging.NOTSET)
    return path
