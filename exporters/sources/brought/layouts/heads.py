"""The values of `--head`: whose outputs a network has, and what reads them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, Literal

from exporters.sources.brought.layouts.apart import ssd, yolo_nas
from exporters.sources.brought.layouts.candidates import candidates
from exporters.sources.brought.layouts.final import end_to_end, tensorflow, torchvision
from exporters.sources.brought.layouts.nanodet import nanodet
from exporters.sources.brought.layouts.pictures import classifier
from exporters.sources.brought.layouts.pixels import segmenter
from exporters.sources.brought.layouts.queries import detr, rt_detr
from exporters.sources.brought.layouts.reading import Evidence, Recognised
from exporters.sources.brought.layouts.ultralytics import ultralytics
from exporters.sources.brought.layouts.yolox import yolox

OwnTask = Literal["detect", "classify", "segment"]
Reader = Callable[[Evidence], Recognised]

_END_TO_END: Final = ("end-to-end", "end-to-end-pixels", "end-to-end-fractions")
READERS: Final[dict[OwnTask, dict[str, Reader]]] = {
    "detect": {
        **{head: partial(yolox, head) for head in ("yolox", "yolox-raw", "yolox-decoded")},
        **{head: partial(nanodet, head) for head in ("nanodet", "nanodet-plus", "picodet")},
        "ultralytics": ultralytics,
        "yolo-nas": yolo_nas,
        "ssd": ssd,
        "detr": detr,
        "rt-detr": rt_detr,
        **{head: partial(end_to_end, head) for head in _END_TO_END},
        "torchvision": torchvision,
        "tensorflow": tensorflow,
        "none": candidates,
    },
    "classify": {head: partial(classifier, head) for head in ("softmax", "none")},
    "segment": {head: partial(segmenter, head) for head in ("argmax", "sigmoid", "none")},
}
"""By task and head; each raises `MisfitError` where the outputs are of another layout."""
WITHOUT_HEAD: Final[dict[OwnTask, Reader]] = {"classify": partial(classifier, ""), "segment": partial(segmenter, "")}
"""Of tasks that need none."""
VARIANTS: Final = {
    **dict.fromkeys(("yolox-raw", "yolox-decoded"), "yolox"),
    "nanodet-plus": "nanodet",
    **dict.fromkeys(_END_TO_END[1:], "end-to-end"),
}
"""Heads that say more than is needed where the plain one fits."""
KIN: Final = {"detr": "rt-detr", "rt-detr": "detr"}
"""Heads that nothing but the number of labels tells apart."""
