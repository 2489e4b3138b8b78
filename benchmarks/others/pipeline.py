"""JPEG to boxes, as each of the other servers does it: by our decoding and suppression, so that only servers differ."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "model_repository" / "nms" / "1")]

import numpy as np  # noqa: E402
import openvino  # noqa: E402
import suppression  # noqa: E402

from reeltag.frames import View, decode_views  # noqa: E402

_SCORE: Final = 0.3
"""Lowest score in an answer, as the gateway's default."""


class Decoder:
    """Encoded pictures to the network's input, on all cores.

    Args:
        view: How the network wants them, such as `LETTERBOX_416X416_PAD114`.
        threads: Pictures that are decoded at one time.
    """

    def __init__(self, view: str, threads: int) -> None:
        self._view = View.parse(view)
        self._pool = ThreadPoolExecutor(threads)

    def __call__(self, files: Sequence[bytes]) -> tuple[Any, Any]:
        """uint8 `(N, H, W, 3)` and float32 `(N, 6)`, as `decode` answers them."""
        pixels = np.empty((len(files), self._view.height, self._view.width, 3), np.uint8)

        def one(index: int) -> Any:
            return decode_views(files[index], [self._view], [pixels[index]])[0].to_array()

        return pixels, np.stack(list(self._pool.map(one, range(len(files)))))


class Network:
    """NanoDet-g and suppression.

    Args:
        model: The ONNX file.
        threads: That compute one batch together.
    """

    def __init__(self, model: str, threads: int) -> None:
        core = openvino.Core()
        precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
        hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": "NO",
        }
        self._request = core.compile_model(core.read_model(model), "CPU", hints).create_infer_request()

    def __call__(self, pixels: Any, geometry: Any) -> list[list[dict[str, Any]]]:
        """The objects of each picture."""
        candidates = next(iter(self._request.infer([pixels], share_inputs=True).values()))
        kept = suppression.suppress(candidates, score_threshold=0.01, iou_threshold=0.65, max_detections=100)
        boxes = suppression.to_source(kept.boxes, geometry)
        return [
            [
                {"label": int(kept.classes[i, j]), "score": float(kept.scores[i, j]), "box": boxes[i, j].tolist()}
                for j in range(int(kept.count[i, 0]))
                if kept.scores[i, j] >= _SCORE
            ]
            for i in range(len(pixels))
        ]


def cores() -> int:
    """Of this machine."""
    return len(os.sched_getaffinity(0))
