"""What a network answered when it was exported, kept beside it: a server that loads it is compared with that."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from reeltag.contract import BOXES, CANDIDATES, CLASS_MAP, CLASSES, COUNT, CUTS, FRAMES, SCORES
from reeltag.errors import ModelRepositoryError

Tensors = Mapping[str, npt.NDArray[Any]]

PICTURES: Final = 2
"""Frames that are kept."""
ALLOWED: Final = {"fp32": 0.05, "bf16": 0.15, "fp16": 0.15, "int8": 0.3}
"""Largest `difference` by precision: processors round differently, those without bfloat16 compute in float32."""
_CERTAIN: Final = 0.3
"""Boxes with such a score are looked for in the other answer; where none has one, those with half the highest."""
_LEAST: Final = 0.05
_SCORE_SLACK: Final = 0.2
_SAME_IOU: Final = 0.5


def packed(frames: npt.NDArray[np.uint8], answers: Tensors) -> bytes:
    """Content of `reference.npz`.

    Args:
        frames: uint8 `(N, *input_shape)`.
        answers: Tensors by name, each with its batch axis.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:  # NumPy would write the time of day into it
        for name, value in {FRAMES: frames, **answers}.items():
            array = io.BytesIO()
            np.save(array, np.asarray(value), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue(), zipfile.ZIP_DEFLATED)
    return content.getvalue()


def unpacked(path: Path) -> tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[Any]]]:
    """Frames and answers of a `reference.npz`.

    Raises:
        ModelRepositoryError: It cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            said = {name: file[name] for name in file.files}
        return said.pop(FRAMES), said
    except (OSError, ValueError, KeyError) as error:
        raise ModelRepositoryError(f"{path} is damaged ({error}); export the network again") from error


def difference(expected: Tensors, found: Tensors) -> float:
    """How far answers to the same frames are apart: 0 for the same, 1 for nothing in common.

    Of a detector the share of certain boxes, of both, that the other one has not; of a segmenter the share of the
    pixels; otherwise the largest difference of a score. Answers that are no numbers have nothing in common.
    """
    if not all(np.isfinite(value).all() for value in found.values() if value.dtype.kind == "f"):
        return 1.0
    if CANDIDATES in expected or BOXES in expected:
        pairs = list(zip(_boxes(expected), _boxes(found), strict=True))
        highest = max((float(one[:, 4].max(initial=0)) for one, _ in pairs), default=0.0)
        lowest = min(_CERTAIN, max(_LEAST, highest / 2))
        missed = [~_has(theirs, ours, lowest) for one, other in pairs for ours, theirs in ((one, other), (other, one))]
        every = np.concatenate(missed) if missed else np.zeros(0)
        return float(every.mean()) if every.size else 0.0
    if CLASS_MAP in expected:
        return float(np.mean(expected[CLASS_MAP] != found[CLASS_MAP]))
    name = CUTS if CUTS in expected else SCORES
    return min(1.0, float(np.abs(expected[name] - found[name]).max()))


def _boxes(answers: Tensors) -> list[npt.NDArray[Any]]:
    """Of each picture, float64 `(n, 6)`: corners, score, class."""
    if CANDIDATES in answers:
        return [rows.astype(np.float64) for rows in answers[CANDIDATES]]
    parts = zip(answers[BOXES], answers[SCORES], answers[CLASSES], answers[COUNT].reshape(-1), strict=True)
    return [
        np.concatenate([boxes, scores[:, None], classes[:, None]], 1)[:count].astype(np.float64)
        for boxes, scores, classes, count in parts
    ]


def _has(rows: npt.NDArray[Any], wanted: npt.NDArray[Any], lowest: float) -> npt.NDArray[np.bool_]:
    """Of each box in `wanted` of at least this score whether `rows` has it, with class and about score: bool `(n,)`."""
    certain = wanted[wanted[:, 4] >= lowest]
    if not len(rows) or not len(certain):
        return np.zeros(len(certain), np.bool_)
    low = np.maximum(certain[:, None, :2], rows[None, :, :2])
    high = np.minimum(certain[:, None, 2:4], rows[None, :, 2:4])
    shared = (high - low).clip(0).prod(2)
    areas = [(boxes[:, 2:4] - boxes[:, :2]).clip(0).prod(1) for boxes in (certain, rows)]
    union = areas[0][:, None] + areas[1][None] - shared
    same = (shared >= _SAME_IOU * union) & (certain[:, None, 5] == rows[None, :, 5])
    near = np.abs(certain[:, None, 4] - rows[None, :, 4]) <= _SCORE_SLACK
    return np.asarray((same & near).any(1))
