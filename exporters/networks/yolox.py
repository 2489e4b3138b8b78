"""YOLOX (Ge et al., 2021, arXiv:2107.08430): its six CSP sizes, and the one with YOLOv3's Darknet-53.

State-dict keys equal those of the published checkpoints, which is why attributes are called as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.networks.darknet import CSP, Blocks, CSPDarknet, Darknet53, Focus
from reeltag.errors import InvalidOption

ACTIVATIONS: Final[dict[str, Callable[[], nn.Module]]] = {
    "silu": lambda: nn.SiLU(inplace=True),
    "mish": lambda: nn.Mish(inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "leaky_relu": lambda: nn.LeakyReLU(0.1, inplace=True),
}
"""By name; the CSP sizes were published with `silu`, Darknet-53 with `leaky_relu`."""
CLASSES_KEY: Final = "head.cls_preds.0.weight"
"""The weights in a state dict that have a row for each class."""
_RARE_OBJECT: Final = -4.6
"""Logit of 0.01: an untrained head finds hardly anything, so that training starts gently (Lin et al., 2017)."""


@dataclass(frozen=True)
class Scale:
    """What distinguishes the rows of the paper's table."""

    depth: float = 1.0
    """Scales the number of bottlenecks in each stage."""
    width: float = 1.0
    """Scales the number of channels."""
    depthwise: bool = False
    """Whether 3x3 convolutions are separated into a depthwise and a pointwise one."""


CSP_SCALES: Final[dict[str, Scale]] = {
    "yolox_nano": Scale(0.33, 0.25, depthwise=True),
    "yolox_tiny": Scale(0.33, 0.375),
    "yolox_s": Scale(0.33, 0.50),
    "yolox_m": Scale(0.67, 0.75),
    "yolox_l": Scale(),
    "yolox_x": Scale(1.33, 1.25),
}
"""By name in the catalogue, where `yolox_darknet53` is the remaining one."""


def build(name: str, num_classes: int, *, activation: str | None = None) -> YOLOX:
    """A network without trained weights.

    Args:
        name: In the catalogue, such as `yolox_nano`.
        num_classes: How many classes its head tells apart.
        activation: In `ACTIVATIONS`; the published one without it.

    Raises:
        InvalidOption: There is no such activation.
    """
    scale = CSP_SCALES.get(name)
    activation = activation or ("silu" if scale else "leaky_relu")
    if activation not in ACTIVATIONS:
        raise InvalidOption(f"activation {activation!r} is unknown; there are: {', '.join(ACTIVATIONS)}")
    blocks = Blocks(ACTIVATIONS[activation], depthwise=scale is not None and scale.depthwise)
    if scale is None:
        return YOLOX(_FeaturePyramid(blocks), _Head(blocks, (128, 256, 512), 256, num_classes))
    channels = [int(stage * scale.width) for stage in (256, 512, 1024)]
    head = _Head(blocks, channels, int(256 * scale.width), num_classes)
    return YOLOX(_PathAggregation(blocks, channels, scale), head)


class YOLOX(nn.Module):
    """Backbone with a feature pyramid, and a decoupled head without anchors."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """The head's answers before decoding.

        Args:
            images: float32 `(N, 3, H, W)` BGR, 0 to 255; H and W are multiples of 32.

        Returns:
            `(N, cells, 5 + C)`: for each cell of the grids of stride 8, 16 and 32, row by row, the box' centre x and y
            (in strides, from the cell's corner), the logarithms of its width and height (in strides), and the
            probabilities of an object and of each class.
        """
        cells = torch.cat([level.flatten(2) for level in self.head_maps(images)], 2).transpose(1, 2)
        return torch.cat([cells[..., :4], cells[..., 4:].sigmoid()], 2)

    def head_maps(self, images: Tensor) -> list[Tensor]:
        """For each stride `(N, 5 + C, H / stride, W / stride)`: as `forward`'s rows, but logits, not probabilities.

        Raises:
            ValueError: H or W is no multiple of 32.
        """
        height, width = images.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(f"the input is {height}x{width} pixels (rows x columns); both must be multiples of 32")
        maps: list[Tensor] = self.head(self.backbone(images))
        return maps


class HeadMaps(nn.Module):
    """What is exported of a network: its `head_maps`, with the stem as one convolution."""

    def __init__(self, network: YOLOX) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        for module in self.network.modules():
            if isinstance(module, CSPDarknet) and isinstance(module.stem, Focus):
                module.stem = module.stem.merged()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """As `YOLOX.head_maps`."""
        return tuple(self.network.head_maps(images))


class _PathAggregation(nn.Module):
    """The CSP sizes' neck: features go down the pyramid and up again (PANet; Liu et al., 2018)."""

    def __init__(self, blocks: Blocks, channels: Sequence[int], scale: Scale) -> None:
        super().__init__()
        low, middle, high = channels

        def stage(inputs: int, outputs: int) -> CSP:
            return CSP(blocks, inputs, outputs, round(3 * scale.depth), shortcut=False)

        self.backbone = CSPDarknet(blocks, scale.depth, scale.width)
        self.lateral_conv0 = blocks.conv(high, middle, 1)
        self.C3_p4 = stage(2 * middle, middle)
        self.reduce_conv1 = blocks.conv(middle, low, 1)
        self.C3_p3 = stage(2 * low, low)
        self.bu_conv2 = blocks.spatial(low, low, 2)
        self.C3_n3 = stage(2 * low, middle)
        self.bu_conv1 = blocks.spatial(middle, middle, 2)
        self.C3_n4 = stage(2 * middle, high)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low, middle, high = self.backbone(images)
        high = self.lateral_conv0(high)
        middle = self.reduce_conv1(self.C3_p4(_joined(high, middle)))
        low = self.C3_p3(_joined(middle, low))
        middle_up = self.C3_n3(torch.cat([self.bu_conv2(low), middle], 1))
        high_up = self.C3_n4(torch.cat([self.bu_conv1(middle_up), high], 1))
        return low, middle_up, high_up


class _FeaturePyramid(nn.Module):
    """YOLOv3's neck: features only go down the pyramid."""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self.backbone = Darknet53(blocks)
        self.out1_cbl = blocks.conv(512, 256, 1)
        self.out1 = _embedding(blocks, 256 + 512, 256)
        self.out2_cbl = blocks.conv(256, 128, 1)
        self.out2 = _embedding(blocks, 128 + 256, 128)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low, middle, high = self.backbone(images)
        middle = self.out1(_joined(self.out1_cbl(high), middle))
        low = self.out2(_joined(self.out2_cbl(middle), low))
        return low, middle, high


def _embedding(blocks: Blocks, inputs: int, outputs: int) -> nn.Sequential:
    """Five convolutions, 1x1 and 3x3 in turns."""
    return nn.Sequential(
        blocks.conv(inputs, outputs, 1),
        blocks.conv(outputs, 2 * outputs, 3),
        blocks.conv(2 * outputs, outputs, 1),
        blocks.conv(outputs, 2 * outputs, 3),
        blocks.conv(2 * outputs, outputs, 1),
    )


def _joined(coarse: Tensor, fine: Tensor) -> Tensor:
    """Features of one stride, enlarged, before those of the next smaller one."""
    return torch.cat([functional.interpolate(coarse, scale_factor=2.0, mode="nearest"), fine], 1)


class _Head(nn.Module):
    """For each stride one branch for the class and one for box and objectness."""

    def __init__(self, blocks: Blocks, inputs: Sequence[int], width: int, num_classes: int) -> None:
        super().__init__()

        def branches() -> nn.ModuleList:
            return nn.ModuleList(
                nn.Sequential(blocks.spatial(width, width), blocks.spatial(width, width)) for _ in inputs
            )

        def predictions(outputs: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(width, outputs, 1) for _ in inputs)

        self.cls_convs, self.reg_convs = branches(), branches()
        self.cls_preds, self.reg_preds, self.obj_preds = predictions(num_classes), predictions(4), predictions(1)
        self.stems = nn.ModuleList(blocks.conv(channels, width, 1) for channels in inputs)
        for prediction in (*self.cls_preds, *self.obj_preds):
            assert isinstance(prediction.bias, Tensor)
            nn.init.constant_(prediction.bias, _RARE_OBJECT)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """For each stride `(N, 5 + C, H / stride, W / stride)`: box, objectness, classes."""
        maps = []
        for level, stem in enumerate(self.stems):
            x = stem(features[level])
            of_class, of_box = self.cls_convs[level](x), self.reg_convs[level](x)
            box, objectness = self.reg_preds[level](of_box), self.obj_preds[level](of_box)
            maps.append(torch.cat([box, objectness, self.cls_preds[level](of_class)], 1))
        return maps
