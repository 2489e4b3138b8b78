"""YOLOX' cells, as `tools/export_onnx.py` of Megvii-BaseDetection/YOLOX writes them."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from exporters.graphs.heads import STRIDES
from exporters.sources.brought.dense_heads import DenseLayout
from exporters.sources.brought.layouts.grids import cells_of, grid
from exporters.sources.brought.layouts.reading import (
    Array,
    ChoiceError,
    Evidence,
    MisfitError,
    Reading,
    Recognised,
    each,
    recognised,
    require,
    require_classes,
    require_probabilities,
)

_CLEARLY: Final = 4
"""How many times better one reading of boxes must be than another to be taken."""


def yolox(head: str, evidence: Evidence) -> Recognised:
    """`(N, cells, 5 + C)`, boxes before decoding (`yolox-raw`) or in pixels (`yolox-decoded`), or told from them."""

    def read(output: Array) -> Reading:
        return _cells(head, output, evidence)

    return recognised(evidence, each(evidence), read, "there is no output")


def _cells(head: str, output: Array, evidence: Evidence) -> Reading:
    size = evidence.size
    cells = cells_of(size, STRIDES)
    require(output.ndim == 3, "the output has not three sides (N, cells, 5 + classes)")
    if output.shape[1] != cells or any(side % STRIDES[-1] for side in size):
        raise MisfitError(f"{output.shape[1]} cells are not the {cells} of stride 8, 16 and 32 with one box each")
    require(output.shape[2] > 5, f"{output.shape[2]} channels are no box, objectness and classes")
    require_probabilities(output[..., 4:], "objectness and classes")
    require_classes(output.shape[2] - 5, evidence.classes)
    decoded = head == "yolox-decoded" if head != "yolox" else _is_decoded(output, size)
    box: Literal["centres", "offsets"] = "centres" if decoded else "offsets"
    layout = DenseLayout(box, evidence.classes, cells, objectness=True, strides=() if decoded else STRIDES)
    return layout, f"YOLOX' cells, boxes {'in pixels' if decoded else 'before decoding'},"


def _is_decoded(output: Array, size: tuple[int, int]) -> bool:
    """Whether centres are near their cells in pixels, rather than within a stride or so of the corner."""
    centres, steps = grid(size)
    raw = float(np.median(np.abs(output[..., :2])))
    decoded = float(np.median(np.abs(output[..., :2] / steps - centres)))
    if min(raw, decoded) * _CLEARLY > max(raw, decoded) or (decoded < raw and (output[..., 2:4] < 0).any()):
        raise ChoiceError(
            "whether boxes are decoded cannot be told from its answers; say --head yolox-raw for an export without "
            "--decode_in_inference, --head yolox-decoded for one with it"
        )
    return decoded < raw
