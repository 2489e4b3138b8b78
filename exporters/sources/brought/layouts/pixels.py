"""Classes of pixels, or their scores: what segmenters answer."""

from __future__ import annotations

from exporters.sources.brought.layouts.reading import (
    Array,
    Evidence,
    MisfitError,
    Reading,
    Recognised,
    are_whole,
    each,
    recognised,
    require,
    require_classes,
)
from exporters.sources.brought.layouts.ultralytics import masks_of


def segmenter(head: str, evidence: Evidence) -> Recognised:
    """Scores `(N, C, h, w)`, or classes `(N, h, w)` or `(N, 1, h, w)`, where h and w go evenly into the input."""

    def read(output: Array) -> Reading:
        return _pixels(head, output, evidence)

    if evidence.metadata.is_ultralytics or masks_of(evidence):
        raise MisfitError(
            "it segments instances: its outputs are boxes and masks for each, not the class of each pixel; its boxes "
            "are served: --task detect --head ultralytics"
        )
    return recognised(evidence, each(evidence), read, "there is no output")


def _pixels(head: str, output: Array, evidence: Evidence) -> Reading:
    is_map = output.ndim == 3 or (output.ndim == 4 and output.shape[1] == 1)
    require(is_map or output.ndim == 4, "the output is neither (N, classes, h, w) nor (N, h, w)")
    place, size = tuple(output.shape[-2:]), evidence.size
    if size[0] % place[0] or size[0] * place[1] != size[1] * place[0]:
        raise MisfitError(f"its last sides {place[0]}x{place[1]} do not go into the input's {size[0]}x{size[1]} evenly")
    if not is_map:
        require(head != "none", "it has a channel for each class; leave --head out, and the best is taken")
        require_classes(output.shape[1], evidence.classes)
        return "class logits", f"scores of each class at {place[0]}x{place[1]}"
    require(head != "argmax", "it has a class for each pixel already; leave --head out")
    require(are_whole(output), "it has one channel that is no class map: values are not whole")
    highest = int(output.max())
    require(
        output.min() >= 0 and highest < evidence.classes,
        f"class {highest} is beyond the {evidence.classes} of --labels",
    )
    return "class map", f"a class map of {place[0]}x{place[1]}"
