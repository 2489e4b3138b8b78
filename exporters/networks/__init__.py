"""Networks of the catalogue as torch modules; each file's `load` takes the folders of the packages it needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from exporters.networks import efficientnet_lite, transnetv2


def load_network(name: str, folders: Mapping[str, Path]) -> torch.nn.Module:
    """A torch network of the catalogue with its weights, in evaluation mode.

    Args:
        name: In the catalogue.
        folders: Of the unpacked packages by name (`ModelSpec.packages`).
    """
    load = {"efficientnet_lite0": efficientnet_lite.load, "transnetv2": transnetv2.load}[name]
    return load(folders)
