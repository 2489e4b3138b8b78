"""Darknet backbones of YOLOX, and the blocks that its neck and head share with them.

Attributes are called as in the published checkpoints.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

_FOCUS_ORDER: Final = ((0, 0), (1, 0), (0, 1), (1, 1))
"""Row and column within a 2x2 block of pixels, in the order of the published weights' input channels."""


class ConvNorm(nn.Module):
    """Convolution that keeps the size (but for its stride), batch norm and activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        activation: Callable[[], nn.Module],
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = activation()

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs, H, W)` to `(N, outputs, H / stride, W / stride)`."""
        activated: Tensor = self.act(self.bn(self.conv(x)))
        return activated


class _Separated(nn.Module):
    """A 3x3 convolution as a depthwise and a pointwise one."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.dconv = ConvNorm(inputs, inputs, 3, stride, activation=activation, groups=inputs)
        self.pconv = ConvNorm(inputs, outputs, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.pconv(self.dconv(x))
        return convolved


@dataclass(frozen=True)
class Blocks:
    """Makes the convolutions of one network."""

    activation: Callable[[], nn.Module]
    depthwise: bool = False
    """Whether 3x3 convolutions are separated."""

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> ConvNorm:
        """Never separated."""
        return ConvNorm(inputs, outputs, kernel, stride, activation=self.activation)

    def spatial(self, inputs: int, outputs: int, stride: int = 1) -> nn.Module:
        """3x3, separated where the network is depthwise."""
        if self.depthwise:
            return _Separated(inputs, outputs, stride, self.activation)
        return self.conv(inputs, outputs, 3, stride)


class CSP(nn.Module):
    """Cross-stage partial stage (Wang et al., 2020): half of the channels go through bottlenecks, half past them."""

    def __init__(self, blocks: Blocks, inputs: int, outputs: int, repeats: int, *, shortcut: bool) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = blocks.conv(inputs, half, 1)
        self.conv2 = blocks.conv(inputs, half, 1)
        self.conv3 = blocks.conv(2 * half, outputs, 1)
        self.m = nn.Sequential(*(_Bottleneck(blocks, half, shortcut=shortcut) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, inputs, H, W)` to `(N, outputs, H, W)`."""
        joined: Tensor = self.conv3(torch.cat([self.m(self.conv1(x)), self.conv2(x)], 1))
        return joined


class _Bottleneck(nn.Module):
    def __init__(self, blocks: Blocks, channels: int, *, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = blocks.conv(channels, channels, 1)
        self.conv2 = blocks.spatial(channels, channels)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class _Backbone(nn.Module):
    """Stages one after the other, the last three of which are answered."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`(N, 3, H, W)` to features of stride 8, 16 and 32."""
        features = []
        x = images
        for stage in self.children():
            x = stage(x)
            features.append(x)
        return features[-3], features[-2], features[-1]


class CSPDarknet(_Backbone):
    """Backbone of the CSP sizes; the last features have 1024 channels at depth and width 1."""

    def __init__(self, blocks: Blocks, depth: float, width: float) -> None:
        super().__init__()
        inputs = int(64 * width)
        repeats = max(round(3 * depth), 1)
        self.stem: nn.Module = Focus(blocks, inputs)
        for stage, count in ((2, repeats), (3, 3 * repeats), (4, 3 * repeats), (5, repeats)):
            outputs = 2 * inputs
            layers = [blocks.spatial(inputs, outputs, 2)]
            if stage == 5:
                layers.append(_PyramidPooling(blocks, outputs, outputs))
            layers.append(CSP(blocks, outputs, outputs, count, shortcut=stage < 5))
            self.add_module(f"dark{stage}", nn.Sequential(*layers))
            inputs = outputs


class Darknet53(_Backbone):
    """Backbone of YOLOv3 (Redmon and Farhadi, 2018) with pyramid pooling; the last features have 512 channels."""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self.stem = nn.Sequential(blocks.conv(3, 32, 3), *_residual_stage(blocks, 32, 1))
        inputs = 64
        for stage, count in ((2, 2), (3, 8), (4, 8), (5, 4)):
            layers = _residual_stage(blocks, inputs, count)
            inputs *= 2
            if stage == 5:
                layers += [
                    blocks.conv(inputs, inputs // 2, 1),
                    blocks.conv(inputs // 2, inputs, 3),
                    _PyramidPooling(blocks, inputs, inputs // 2),
                    blocks.conv(inputs // 2, inputs, 3),
                    blocks.conv(inputs, inputs // 2, 1),
                ]
            self.add_module(f"dark{stage}", nn.Sequential(*layers))


def _residual_stage(blocks: Blocks, inputs: int, count: int) -> list[nn.Module]:
    return [blocks.conv(inputs, 2 * inputs, 3, 2), *(_Residual(blocks, 2 * inputs) for _ in range(count))]


class _Residual(nn.Module):
    def __init__(self, blocks: Blocks, channels: int) -> None:
        super().__init__()
        self.layer1 = blocks.conv(channels, channels // 2, 1)
        self.layer2 = blocks.conv(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.layer2(self.layer1(x))
        return x + changed


class _PyramidPooling(nn.Module):
    """The features beside their maxima over 5x5, 9x9 and 13x13 cells."""

    def __init__(self, blocks: Blocks, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = blocks.conv(inputs, inputs // 2, 1)
        self.conv2 = blocks.conv(inputs // 2 * 4, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        pooled = [functional.max_pool2d(x, size, 1, size // 2) for size in (5, 9, 13)]
        joined: Tensor = self.conv2(torch.cat([x, *pooled], 1))
        return joined


class Focus(nn.Module):
    """A convolution of 2x2 blocks of pixels, whose 12 values are its input channels."""

    def __init__(self, blocks: Blocks, outputs: int) -> None:
        super().__init__()
        self.conv = blocks.conv(12, outputs, 3)

    def forward(self, images: Tensor) -> Tensor:
        """`(N, 3, H, W)` to `(N, outputs, H / 2, W / 2)`."""
        corners = [images[..., row::2, column::2] for row, column in _FOCUS_ORDER]
        convolved: Tensor = self.conv(torch.cat(corners, 1))
        return convolved

    def merged(self) -> ConvNorm:
        """The same as one 6x6 convolution of pixels with stride 2: runtimes are faster without the slices."""
        merged = copy.deepcopy(self.conv)
        weight = merged.conv.weight.detach()
        merged.conv = nn.Conv2d(3, weight.shape[0], 6, 2, 2, bias=False)
        with torch.no_grad():
            for index, (row, column) in enumerate(_FOCUS_ORDER):
                merged.conv.weight[:, :, row::2, column::2] = weight[:, 3 * index : 3 * index + 3]
        return merged
