"""Boxes that are decoded but not suppressed, as the user's own graph brings them: `--head none`."""

from __future__ import annotations

import numpy as np

from exporters.sources.brought.layouts.grids import require_corners, require_pixels
from exporters.sources.brought.layouts.reading import (
    TOLERANCE,
    Array,
    Evidence,
    Reading,
    Recognised,
    are_whole,
    each,
    recognised,
    require,
    require_probabilities,
)


def candidates(evidence: Evidence) -> Recognised:
    """`(N, K, 6)`: x1, y1, x2, y2 in input pixels, score, class; best first."""

    def read(output: Array) -> Reading:
        is_rows = output.ndim == 3 and output.shape[2] == 6
        require(is_rows, "the output is not (N, K, 6) = x1, y1, x2, y2, score, class")
        require(
            not evidence.metadata.is_final,
            "the file says in its metadata that nothing is to be suppressed any more (end2end or nms)",
        )
        boxes, scores, classes = output[..., :4], output[..., 4], output[..., 5]
        require_probabilities(scores, "scores (the fifth column)")
        require((np.diff(scores, axis=1) <= TOLERANCE).all(), "scores (the fifth column) do not fall along K")
        require(are_whole(classes), "classes (the sixth column) are not whole numbers")
        highest, named = int(classes.max(initial=0)), evidence.classes
        require(classes.min(initial=0) >= 0 and highest < named, f"class {highest} is beyond the {named} of --labels")
        require_corners(boxes)
        if boxes.any():
            require_pixels(boxes)
        return "candidates", "candidates, of which those that overlap are suppressed,"

    return recognised(evidence, each(evidence), read, "there is no output")
