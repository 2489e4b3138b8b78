"""SwiftNet (Orsic et al., 2019, arXiv:1903.08469): semantic segmentation with a light decoder of lateral connections.

The single-scale network and the pyramid of three scales with ResNet-18 have the state-dict keys of orsic/swiftnet's
checkpoints, which is why attributes are called as they are. The paper's other encoder, MobileNetV2, was not published:
below `backbone`, it has torchvision's keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.networks.encoders import MobileNetV2, ResNet18
from reeltag.areas import NO_CLASS
from reeltag.errors import InvalidOption

CLASSES_KEY: Final = "logits.conv.weight"
"""The weights in a state dict that have a row for each class."""
UPSAMPLINGS: Final = ("bilinear", "nearest")
"""As the paper does it, and what some old runtimes force one to do instead."""
MOST_CLASSES: Final = NO_CLASS
"""A class map has one byte for each pixel, and one value says that there is none."""
_MEAN: Final = (73.15, 82.90, 72.3)
_STD: Final = (47.67, 48.49, 47.73)
_FEATURES: Final = 128
_SCALES: Final = 3
_POOLING_ROWS: Final = (8, 4, 2)
_POOLED_FEATURES: Final = _FEATURES // len(_POOLING_ROWS)


def build(name: str, num_classes: int, *, upsampling: str = "bilinear") -> SwiftNet:
    """A network without trained weights.

    Args:
        name: In the catalogue: `swiftnet_rn18`, `swiftnet_rn18_pyramid` or `swiftnet_mobilenetv2`.
        num_classes: How many classes it tells apart, at most `MOST_CLASSES`.
        upsampling: In `UPSAMPLINGS`.

    Raises:
        InvalidOption: There is no such upsampling, or too many classes.
    """
    if num_classes > MOST_CLASSES:
        raise InvalidOption(f"{num_classes} classes do not fit a class map of bytes; at most {MOST_CLASSES} do")
    if upsampling not in UPSAMPLINGS:
        raise InvalidOption(f"upsampling {upsampling!r} is unknown; there are: {', '.join(UPSAMPLINGS)}")
    backbones = {
        "swiftnet_rn18": _SingleScaleResNet,
        "swiftnet_rn18_pyramid": _Pyramid,
        "swiftnet_mobilenetv2": _SingleScaleMobileNet,
    }
    return SwiftNet(backbones[name](upsampling), num_classes, upsampling)


class SwiftNet(nn.Module):
    """A backbone with decoder, and from its features at a quarter of the input's size the classes."""

    def __init__(self, backbone: nn.Module, num_classes: int, upsampling: str) -> None:
        super().__init__()
        backbone.register_buffer("img_mean", torch.tensor(_MEAN).view(1, 3, 1, 1))
        backbone.register_buffer("img_std", torch.tensor(_STD).view(1, 3, 1, 1))
        self.backbone = backbone
        self.logits = _NormReluConv(_FEATURES, num_classes, 1, bias=True)
        self.upsampling = upsampling

    def forward(self, images: Tensor) -> Tensor:
        """The class scores of each pixel.

        Args:
            images: float32 `(N, 3, H, W)` RGB, 0 to 255; H and W are multiples of 32.

        Returns:
            Logits `(N, C, H, W)`.

        Raises:
            ValueError: H or W is no multiple of 32.
        """
        height, width = images.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(f"the input is {height}x{width} pixels (rows x columns); both must be multiples of 32")
        normalised = (images - self.backbone.get_buffer("img_mean")) / self.backbone.get_buffer("img_std")
        return _resized(self.logits(self.backbone(normalised)), images, self.upsampling)


class _SingleScaleResNet(ResNet18):
    def __init__(self, upsampling: str) -> None:
        super().__init__()
        self.spp = _PyramidPooling(self.channels[-1], upsampling)
        self.upsample = _ladder(self.channels[:-1], upsampling)

    def forward(self, images: Tensor) -> Tensor:
        # The paper takes features before their ReLU, but the published weights were trained on features behind it: the
        # original's ReLU works in place, and so changes what is handed on. The pyramid's does not.
        rectified = [functional.relu(features) for features in self.stages(images)]
        return _climb(rectified, self.spp, self.upsample)


class _SingleScaleMobileNet(MobileNetV2):
    def __init__(self, upsampling: str) -> None:
        super().__init__()
        self.spp = _PyramidPooling(self.channels[-1], upsampling)
        self.upsample = _ladder(self.channels[:-1], upsampling)

    def forward(self, images: Tensor) -> Tensor:
        return _climb(self.stages(images), self.spp, self.upsample)


def _ladder(channels: Sequence[int], upsampling: str) -> nn.ModuleList:
    return nn.ModuleList(_LateralBlend(count, upsampling) for count in reversed(channels))


def _climb(features: Sequence[Tensor], pooling: nn.Module, ladder: nn.ModuleList) -> Tensor:
    """From the features of stride 32 step by step to those of stride 4."""
    x: Tensor = pooling(features[-1])
    for step, skip in zip(ladder, reversed(features[:-1]), strict=True):
        x = step(x, skip)
    return x


class _Pyramid(ResNet18):
    """The encoder on the picture at full, half and quarter size; features of equal stride are added."""

    def __init__(self, upsampling: str) -> None:
        super().__init__(_SCALES)
        self.upsample_bottlenecks = nn.ModuleList(
            nn.Conv2d(channels, _FEATURES, 1, bias=False) for channels in reversed(self.channels)
        )
        steps = len(self.channels) + _SCALES - 2
        self.upsample_blends = nn.ModuleList(_Blend(upsampling) for _ in range(steps))

    def forward(self, images: Tensor) -> Tensor:
        sums: list[Tensor] = []
        for scale in range(_SCALES):
            smaller = images
            if scale:
                smaller = functional.interpolate(images, scale_factor=0.5**scale, mode="bicubic")
            narrowed = zip(reversed(self.upsample_bottlenecks), self.stages(smaller, scale), strict=True)
            for index, (bottleneck, stage) in enumerate(narrowed, scale):
                features = bottleneck(stage)
                if index < len(sums):
                    sums[index] = sums[index] + features
                else:
                    sums.append(features)
        x = sums.pop()
        for blend in self.upsample_blends:
            x = blend(x, sums.pop())
        return x


class _NormReluConv(nn.Module):
    """Batch norm, ReLU and convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = False, momentum: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs, momentum=momentum)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        convolved: Tensor = self.conv(functional.relu(self.norm(x)))
        return convolved


class _Blend(nn.Module):
    """Enlarges features to the size of others, adds and mixes them."""

    def __init__(self, upsampling: str) -> None:
        super().__init__()
        self.blend_conv = _NormReluConv(_FEATURES, _FEATURES, 3)
        self.upsampling = upsampling

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        blended: Tensor = self.blend_conv(_resized(x, skip, self.upsampling) + skip)
        return blended


class _LateralBlend(_Blend):
    """The same with features of another number of channels."""

    def __init__(self, channels: int, upsampling: str) -> None:
        super().__init__(upsampling)
        self.bottleneck = _NormReluConv(channels, _FEATURES, 1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return super().forward(x, self.bottleneck(skip))


class _PyramidPooling(nn.Module):
    """The features beside their means over grids of 8, 4 and 2 rows of about square cells (after Zhao et al., 2017)."""

    def __init__(self, channels: int, upsampling: str) -> None:
        super().__init__()
        self.spp = nn.Sequential()
        self.spp.add_module("spp_bn", _NormReluConv(channels, _FEATURES, 1, momentum=0.005))
        for index in range(len(_POOLING_ROWS)):
            self.spp.add_module(f"spp{index}", _NormReluConv(_FEATURES, _POOLED_FEATURES, 1, momentum=0.005))
        fused = _FEATURES + len(_POOLING_ROWS) * _POOLED_FEATURES
        self.spp.add_module("spp_fuse", _NormReluConv(fused, _FEATURES, 1, momentum=0.005))
        self.upsampling = upsampling
        self._kept: dict[tuple[object, ...], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        narrow, *levels, fuse = self.spp
        assert isinstance(fuse, _NormReluConv)
        x = narrow(x)
        height, width = _size(x)
        parts = [x]
        for level, rows in zip(levels, _POOLING_ROWS, strict=True):
            columns = max(1, round(width / height * rows))
            parts.append(_resized(level(self._grid_means(x, rows, columns)), x, self.upsampling))
        return _of_concatenated(fuse, parts)

    def _grid_means(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Adaptive average pooling, which ONNX has only for sizes that divide each other: others are a product."""
        height, width = _size(x)
        if height % rows == 0 and width % columns == 0:
            return functional.avg_pool2d(x, (height // rows, width // columns))
        # Flat, because OpenVINO takes the last axis of a product for its channels, and then refuses it in int8.
        means = torch.matmul(x.reshape(-1, x.shape[1], height * width), self._averages(x, rows, columns))
        return means.reshape(-1, x.shape[1], rows, columns)

    def _averages(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """The matrix of that product, kept from call to call: a copy from the host forbids CUDA graphs."""
        height, width = _size(x)
        if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]  # then it is a constant of the graph
            return _averaging_matrix(x, rows, columns)
        key = (height, width, rows, columns, x.device, x.dtype)
        if key not in self._kept:
            with torch.inference_mode(False):
                self._kept[key] = _averaging_matrix(x, rows, columns)
        return self._kept[key]


def _of_concatenated(layers: _NormReluConv, parts: Sequence[Tensor]) -> Tensor:
    """What layers answer to the concatenated parts, as a sum over the parts.

    OpenVINO 2026.4 concatenates parts of 42 channels wrongly behind int8, where the batch is free.
    """
    norm = layers.norm
    answers: list[Tensor] = []
    end = 0
    for part in parts:
        own = slice(end, end := end + part.shape[1])
        mean, variance = norm.get_buffer("running_mean")[own], norm.get_buffer("running_var")[own]
        numbers = (norm.weight[own], norm.bias[own], norm.training, norm.momentum or 0.0, norm.eps)
        normed = functional.batch_norm(part, mean, variance, *numbers)
        answers.append(functional.conv2d(functional.relu(normed), layers.conv.weight[:, own]))
    return sum(answers[1:], answers[0])


def _averaging_matrix(x: Tensor, rows: int, columns: int) -> Tensor:
    """From the pixels of `x`, flat, to the means of its cells: `(H * W, rows * columns)`."""
    height, width = _size(x)
    of_rows, of_columns = x.new_tensor(_averaging(height, rows)), x.new_tensor(_averaging(width, columns))
    return torch.kron(of_rows, of_columns).T.contiguous()


def _averaging(inputs: int, outputs: int) -> list[list[float]]:
    """A matrix `outputs` x `inputs`: each row averages the inputs that its output touches."""
    matrix = []
    for index in range(outputs):
        first, end = index * inputs // outputs, -(-(index + 1) * inputs // outputs)
        matrix.append([1 / (end - first) if first <= column < end else 0.0 for column in range(inputs)])
    return matrix


def _resized(x: Tensor, like: Tensor, upsampling: str) -> Tensor:
    return functional.interpolate(
        x, size=_size(like), mode=upsampling, align_corners=False if upsampling == "bilinear" else None
    )


def _size(x: Tensor) -> tuple[int, int]:
    """Rows and columns as numbers, which are constants in a traced graph."""
    return int(x.shape[-2]), int(x.shape[-1])
