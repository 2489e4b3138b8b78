"""A server that answers at once, with as many boxes and labels of every frame as real networks give of a street."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from reeltag.contract import BOXES, CLASSES, SCORES, SHOTS_ENSEMBLE, ModelCard, Task
from reeltag.errors import ImageRejected, ReeltagError
from reeltag.triton import ImageOutputs
from reeltag.triton_messages import SharedTensor

Array = npt.NDArray[Any]
_BOXES: Final = 12
_CLASSES: Final = 1000
_SCENE_FRAMES: Final = 100


class BusyStreet:
    """Speaks `vod.inference.ring.FrameTagger`; it looks at no picture."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        objects = tuple(f"object {i}" for i in range(80))
        classes = tuple(f"class {i}" for i in range(_CLASSES))
        self._cards = {
            Task.DETECT.frames_ensemble: _card("detect", 416, objects, "LETTERBOX_416X416_PAD0"),
            Task.CLASSIFY.frames_ensemble: _card("classify", 224, classes, "CENTER_CROP_224X224_PAD0"),
            SHOTS_ENSEMBLE: _card("shots", 27, (), ""),
        }

    async def cards(self) -> Mapping[str, ModelCard]:
        """Of its three networks."""
        return self._cards

    async def card(self, ensemble: str) -> ModelCard:
        """Of one of them."""
        return self._cards[ensemble]

    async def infer_frames(
        self, card: ModelCard, frames: Array | SharedTensor, *, class_maps: bool = False
    ) -> list[dict[str, Array]]:
        """Boxes, or scores."""
        count = frames.shape[0]
        return [self._boxes() if card.task == "detect" else self._scores() for _ in range(count)]

    async def infer_cuts(self, card: ModelCard, window: Array | SharedTensor) -> Array:
        """A cut every four seconds."""
        cuts = np.zeros((1, window.shape[1]), np.float32)
        cuts[:, 49::_SCENE_FRAMES] = 0.9
        return cuts

    async def infer_images(
        self, cards: Mapping[Task, ModelCard], images: Sequence[bytes], *, class_maps: bool = False
    ) -> list[ImageOutputs | ImageRejected]:
        """It is asked for none."""
        raise NotImplementedError

    async def register_shared_memory(self, region: str, key: str, byte_size: int) -> None:
        """It reads none: tensors are sent, as to another host."""
        raise ReeltagError("no shared memory")

    async def unregister_shared_memory(self, region: str) -> None:
        """Nothing to do."""

    async def register_gpu_memory(self, region: str, handle: bytes, number: int, byte_size: int) -> None:
        """As `register_shared_memory`."""
        raise ReeltagError("no shared memory")

    async def unregister_gpu_memory(self, region: str) -> None:
        """Nothing to do."""

    def _boxes(self) -> dict[str, Array]:
        corners = self._random.uniform(0, 200, (_BOXES, 2))
        return {
            BOXES: np.hstack([corners, corners + 100]).astype(np.float32),
            SCORES: self._random.uniform(0.2, 0.95, _BOXES).astype(np.float32),
            CLASSES: self._random.integers(0, 8, _BOXES).astype(np.int32),
        }

    def _scores(self) -> dict[str, Array]:
        scores = np.zeros(_CLASSES, np.float32)
        scores[self._random.integers(0, 40, 10)] = self._random.uniform(0.01, 0.3, 10)
        return {SCORES: scores}


def _card(task: Any, side: int, labels: tuple[str, ...], view: str) -> ModelCard:
    return ModelCard(
        network=f"street_{task}",
        task=task,
        height=side,
        width=48 if task == "shots" else side,
        view=view,
        labels=labels,
        runtime="none",
        precision="f32",
        sha256=task,
    )
