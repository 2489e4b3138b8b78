"""How pictures are prepared for the networks of each published family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from exporters.catalogue.entries import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from reeltag.frames import Fit

Channels = tuple[float, float, float]
_ZERO: Final = (0.0, 0.0, 0.0)
_GREY: Final = 114


@dataclass(frozen=True)
class Convention:
    """Pre-processing, as in `ModelSpec`."""

    fit: Fit
    mean: Channels
    std: Channels
    channel_order: Literal["RGB", "BGR"] = "RGB"
    pad_value: int = _GREY

    def text(self, spec: ModelSpec) -> str:
        """For people, so that a wrong assumption is seen."""
        mean, std = (",".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        return (
            f"pictures {spec.height}x{spec.width} (HxW), {self.fit.value.replace('_', '-')}, {self.channel_order}, "
            f"mean {mean}, std {std}"
        )


_YOLOX: Final = Convention(Fit.LETTERBOX_TOP_LEFT, _ZERO, (1.0, 1.0, 1.0), "BGR")
_NANODET: Final = Convention(Fit.LETTERBOX, IMAGENET_MEAN, IMAGENET_STD, "BGR")
_ZERO_TO_ONE: Final = Convention(Fit.LETTERBOX, _ZERO, (255.0, 255.0, 255.0))
_CLASSIFIER: Final = Convention(Fit.CENTER_CROP, IMAGENET_MEAN, IMAGENET_STD)
_SEGMENTER: Final = Convention(Fit.LETTERBOX, IMAGENET_MEAN, IMAGENET_STD, pad_value=0)


def convention_of(task: str, head: str) -> Convention:
    """What networks of a task and a head usually take; the user's options go over it."""
    if task == "detect":
        family = head.split("-", maxsplit=1)[0]
        return {"yolox": _YOLOX, "nanodet": _NANODET}.get(family, _ZERO_TO_ONE)
    return _CLASSIFIER if task == "classify" else _SEGMENTER
