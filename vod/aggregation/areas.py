"""The areas that a segmenter's classes have in the frames of a video."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from reeltag.areas import picture_in, shares_of
from reeltag.contract import CLASS_MAP, SHARES, ModelCard
from reeltag.frames import geometry_of

Array = npt.NDArray[Any]


class FrameAreas:
    """Leaves out the letterbox's border, which the network cannot tell from the picture.

    Args:
        card: Of the segmenter.
        width: Columns of the video as displayed, pixels.
        height: Rows of the video as displayed, pixels.
    """

    def __init__(self, card: ModelCard, width: int, height: int) -> None:
        geometry = geometry_of(card.frames_view(), width, height)
        self._classes = len(card.labels)
        self._picture = picture_in(card.height, card.width, geometry.to_array())
        self.needs_class_maps = self._picture != (slice(0, card.height), slice(0, card.width))
        """Whether there is a border: only then the network's own shares are not those of the picture."""

    def shares(self, tensors: Mapping[str, Array]) -> Array:
        """Share of the picture that each class has: the network's answer to one frame to float32 `(C,)`, 0 to 1."""
        if not self.needs_class_maps:
            return tensors[SHARES]
        return shares_of(tensors[CLASS_MAP][self._picture], self._classes)
