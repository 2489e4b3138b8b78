"""Image encoders of SwiftNet: ResNet-18 (He et al., 2016) and MobileNetV2 (Sandler et al., 2018).

Attributes are called as in orsic/swiftnet's checkpoints and in torchvision's respectively.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional


class ResNet18(nn.Module):
    """Eight residual blocks; of a pyramid every scale has its own batch norms between shared convolutions."""

    channels: ClassVar = (64, 128, 256, 512)
    """Of the features of stride 4, 8, 16 and 32."""

    def __init__(self, scales: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = _norms(64, scales)
        inputs = 64
        for stage, outputs in enumerate(self.channels, 1):
            first = _Residual(inputs, outputs, 1 if stage == 1 else 2, scales)
            self.add_module(f"layer{stage}", nn.Sequential(first, _Residual(outputs, outputs, 1, scales)))
            inputs = outputs

    def stages(self, images: Tensor, scale: int = 0) -> list[Tensor]:
        """Features of stride 4, 8, 16 and 32 before their last ReLU.

        Args:
            images: Normalised, `(N, 3, H, W)`.
            scale: Index of the pyramid's scale, whose batch norms are used.
        """
        x = functional.relu(_norm_of(self.bn1, scale)(self.conv1(images)))
        x = functional.max_pool2d(x, 3, 2, 1)
        features = []
        for stage in range(1, 5):
            for block in self.get_submodule(f"layer{stage}").children():
                x = block(functional.relu(x), scale)
            features.append(x)
        return features


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, scales: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = _norms(outputs, scales)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = _norms(outputs, scales)
        self.downsample: nn.Sequential | None = None
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor, scale: int) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(_norm_of(self.bn1, scale)(self.conv1(x)))
        changed: Tensor = _norm_of(self.bn2, scale)(self.conv2(x))
        return changed + shortcut


def _norms(channels: int, scales: int) -> nn.Module:
    if scales == 1:
        return nn.BatchNorm2d(channels)
    return nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(scales))


def _norm_of(norm: nn.Module, scale: int) -> nn.Module:
    return norm[scale] if isinstance(norm, nn.ModuleList) else norm


class MobileNetV2(nn.Module):
    """Seventeen inverted residuals, without the last convolution to 1280 channels, which only a classifier needs."""

    channels: ClassVar = (24, 32, 96, 320)
    """Of the features of stride 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_norm_relu6(3, 32, 3, 2)]
        self.ends = []
        """Index after the last block of stride 4, 8, 16 and 32."""
        inputs = 32
        # The paper's table: expansion, channels, blocks, stride of the first one.
        for expansion, outputs, blocks, stride in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            for block in range(blocks):
                layers.append(_InvertedResidual(inputs, outputs, stride if block == 0 else 1, expansion))
                inputs = outputs
            if outputs in self.channels:
                self.ends.append(len(layers))
        self.features = nn.Sequential(*layers)

    def stages(self, images: Tensor) -> list[Tensor]:
        """Features of stride 4, 8, 16 and 32 of normalised images `(N, 3, H, W)`."""
        features = []
        x = images
        for count, layer in enumerate(self.features, 1):
            x = layer(x)
            if count in self.ends:
                features.append(x)
        return features


def _norm_relu6(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expanding = [_norm_relu6(inputs, hidden, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *expanding,
            _norm_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = self.conv(x)
        return x + changed if self.shortcut else changed
