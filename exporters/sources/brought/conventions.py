"""How pictures are prepared for the networks of each published family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from exporters.catalogue.entries import IMAGENET_MEAN, IMAGENET_STD
from reeltag.frames import CROP_FRACTION, Colour, Fit, View

Channels = tuple[float, float, float]
Preset = Literal["imagenet", "ultralytics", "yolox"]
_ZERO: Final = (0.0, 0.0, 0.0)
_ONE: Final = (1.0, 1.0, 1.0)
_WHITE: Final = (255.0, 255.0, 255.0)
_GREY: Final = (114, 114, 114)
_BLACK: Final = (0, 0, 0)


@dataclass(frozen=True)
class Convention:
    """Pre-processing, as in `ModelSpec`."""

    fit: Fit
    mean: Channels
    std: Channels
    channel_order: Literal["RGB", "BGR", "grey"] = "RGB"
    """`grey` is of networks of one channel, which the graph makes of red, green and blue."""
    pad: Colour = _GREY
    crop_fraction: float = CROP_FRACTION

    def view(self, height: int, width: int) -> View:
        """Of an input of so many rows and columns, pixels."""
        is_crop = self.fit is Fit.CENTER_CROP
        is_letterbox = self.fit in (Fit.LETTERBOX, Fit.LETTERBOX_TOP_LEFT)
        pad = self.pad if is_letterbox else _BLACK
        grey = pad[0] if len(set(pad)) == 1 else pad
        return View(self.fit, height, width, grey, self.crop_fraction if is_crop else CROP_FRACTION)

    def text(self, height: int, width: int) -> str:
        """For people, so that a wrong assumption is seen."""
        mean, std = (",".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        fit = self.fit.value.replace("_", "-")
        view = self.view(height, width)
        if self.fit is Fit.CENTER_CROP:
            fit += f" of {view.crop_fraction:g}"
        elif self.fit is not Fit.STRETCH:
            fit += f" on {view.pad_value}" if isinstance(view.pad_value, int) else f" on {','.join(map(str, self.pad))}"
        return f"pictures {height}x{width} (rows x columns), {fit}, {self.channel_order}, mean {mean}, std {std}"


_YOLOX: Final = Convention(Fit.LETTERBOX_TOP_LEFT, _ZERO, _ONE, "BGR")
_NANODET: Final = Convention(Fit.LETTERBOX, IMAGENET_MEAN, IMAGENET_STD, "BGR")
_STRETCHED: Final = Convention(Fit.STRETCH, IMAGENET_MEAN, IMAGENET_STD)
_ZERO_TO_ONE: Final = Convention(Fit.LETTERBOX, _ZERO, _WHITE)
_STRETCHED_TO_ONE: Final = Convention(Fit.STRETCH, _ZERO, _WHITE)
_CLASSIFIER: Final = Convention(Fit.CENTER_CROP, IMAGENET_MEAN, IMAGENET_STD)
_WHOLE: Final = Convention(Fit.CENTER_CROP, _ZERO, _WHITE, crop_fraction=1.0)
_SEGMENTER: Final = Convention(Fit.LETTERBOX, IMAGENET_MEAN, IMAGENET_STD, pad=_BLACK)
_DETECTORS: Final = {
    "yolox": _YOLOX,
    "yolox-raw": _YOLOX,
    "yolox-decoded": _YOLOX,
    "nanodet": _NANODET,
    "nanodet-plus": _NANODET,
    "picodet": _STRETCHED,
    "ssd": Convention(Fit.STRETCH, (127.0,) * 3, (128.0,) * 3),
    "detr": _STRETCHED,
    "rt-detr": _STRETCHED_TO_ONE,
    "tensorflow": Convention(Fit.STRETCH, _ZERO, _ONE),
}
"""By head; of those that are not here 0 to 1 in a grey letterbox."""


def convention_of(task: str, head: str) -> Convention:
    """What networks of a task and a head usually take; the user's options go over it."""
    if task == "detect":
        return _DETECTORS.get(head, _ZERO_TO_ONE)
    return _CLASSIFIER if task == "classify" else _SEGMENTER


def preset(name: Preset, task: str, head: str) -> Convention:
    """A family's pre-processing for a network of any head.

    ImageNet's is of classifiers; of other networks it is the mean and deviation, and pictures are fitted as the head's.
    """
    if name == "ultralytics":
        if task == "detect" and head == "rt-detr":
            return _STRETCHED_TO_ONE
        return _WHOLE if task == "classify" else _ZERO_TO_ONE
    if name == "yolox":
        return _YOLOX
    usual = convention_of(task, head)
    return replace(usual, mean=IMAGENET_MEAN, std=IMAGENET_STD, channel_order="RGB")
