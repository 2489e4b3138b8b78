"""A server that says what colour it sees: red is a car, green a person, blue nothing; it speaks `FrameTagger`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from reeltag.areas import shares_of
from reeltag.contract import BOXES, CLASS_MAP, CLASSES, SCORES, SHARES, SHOTS_ENSEMBLE, ModelCard, Task
from reeltag.errors import ImageRejected, ModelUnavailable, NetworkReplaced, ReeltagError, TritonUnavailable
from reeltag.frames import ImageError, View, decode_image, fit_pixels
from reeltag.triton import ImageOutputs
from reeltag.triton_messages import SharedTensor
from vod.decoding.blocks import array_at

Array = npt.NDArray[Any]
LABELS = ("car", "person")
DETECTOR = View.parse("LETTERBOX_64X64_PAD0")
CLASSIFIER = View.parse("CENTER_CROP_32X32_PAD0")
AREA_LABELS = ("shade", "red paint", "green paint", "blue paint")


def _card(
    task: Literal["detect", "classify", "segment", "shots"],
    view: View | None,
    labels: tuple[str, ...],
    groups: dict[str, tuple[int, ...]] | None = None,
) -> ModelCard:
    return ModelCard(
        network=f"fake_{task}",
        task=task,
        height=view.height if view else 27,
        width=view.width if view else 48,
        view=view.name if view else "",
        labels=labels,
        groups=groups or {},
        runtime="fake",
        precision="f32",
        sha256=f"sha of {task}",
    )


class FakeTagger:
    """Args: shares: whether it opens shared memory; away: so many requests fail first; groups: of its three colours,
    and with them it cannot tell the colour that it sees from the one before; segmenter: how that fits pictures; to it
    what is dark, such as a letterbox's border, is shade."""

    def __init__(
        self,
        *,
        shares: bool = True,
        away: int = 0,
        forgets_after: int = 0,
        groups: dict[str, tuple[int, ...]] | None = None,
        segmenter: View | None = None,
    ) -> None:
        self.class_maps = 0
        """How many were asked for."""
        self.certainty = np.array([[0.3, 0, 0.3], [0.3, 0.3, 0], [0, 0.3, 0.3]] if groups else np.eye(3) * 0.97, "f4")
        self.shares = shares
        self.away = away
        self.forgets_after = forgets_after
        self.regions: dict[str, str] = {}
        self.registrations = 0
        self.shared_requests = 0
        self.sent_requests = 0
        self.image_requests = 0
        self.hold: asyncio.Event | None = None
        self._requests = 0
        self._replacements: dict[int, dict[str, ModelCard]] = {}
        self._cards = {
            Task.DETECT.frames_ensemble: _card("detect", DETECTOR, LABELS),
            Task.CLASSIFY.frames_ensemble: _card("classify", CLASSIFIER, ("red", "green", "blue"), groups),
            SHOTS_ENSEMBLE: _card("shots", None, ()),
        }
        if segmenter:
            self._cards[Task.SEGMENT.frames_ensemble] = _card("segment", segmenter, AREA_LABELS)

    def replace(self, request: int, ensemble: str, changes: Mapping[str, object]) -> None:
        """From its request of this number on there is another network behind an ensemble."""
        self._replacements[request] = {ensemble: self._cards[ensemble].model_copy(update=changes)}

    async def cards(self) -> Mapping[str, ModelCard]:
        return self._cards

    async def card(self, ensemble: str) -> ModelCard:
        if ensemble not in self._cards:
            raise ModelUnavailable(f"no {ensemble}")
        return self._cards[ensemble]

    async def register_shared_memory(self, region: str, key: str, byte_size: int) -> None:
        if not self.shares:
            raise ReeltagError("cannot open shared memory")
        self.regions[region] = key
        self.registrations += 1

    async def unregister_shared_memory(self, region: str) -> None:
        self.regions.pop(region, None)

    async def register_gpu_memory(self, region: str, handle: bytes, number: int, byte_size: int) -> None:
        raise ReeltagError("this is no server with a GPU")

    async def unregister_gpu_memory(self, region: str) -> None:
        pass

    async def infer_frames(
        self, card: ModelCard, frames: Array | SharedTensor, *, class_maps: bool = False
    ) -> list[dict[str, Array]]:
        task = Task(card.task)
        await self._answering({task.frames_ensemble: card})
        with self._array(frames) as pixels:
            answers = [self._see(task, frame) for frame in pixels]
        if task is Task.SEGMENT:
            self.class_maps += class_maps * len(answers)
            return answers if class_maps else [{SHARES: answer[SHARES]} for answer in answers]
        return answers

    async def infer_cuts(self, card: ModelCard, window: Array | SharedTensor) -> Array:
        await self._answering({SHOTS_ENSEMBLE: card})
        with self._array(window) as pixels:
            means = pixels.astype(np.float32).mean(axis=(2, 3))
        jumps = np.abs(np.diff(means, axis=1)).max(axis=2) > 60
        return np.pad(jumps * 0.9, ((0, 0), (0, 1))).astype(np.float32)

    async def infer_images(
        self, cards: Mapping[Task, ModelCard], images: Sequence[bytes], *, class_maps: bool = False
    ) -> list[ImageOutputs | ImageRejected]:
        await self._answering({task.frames_ensemble: card for task, card in cards.items()})
        self.image_requests += 1
        return [self._image(cards, image) for image in images]

    def _image(self, cards: Mapping[Task, ModelCard], image: bytes) -> ImageOutputs | ImageRejected:
        try:
            pixels, header = decode_image(image)
        except ImageError as error:
            return ImageRejected(error.code, str(error))
        fitted = fit_pixels(DETECTOR, pixels, header.width, header.height)
        return ImageOutputs(header.width, header.height, {task: self._see(task, fitted) for task in cards}, cards)

    async def _answering(self, asked: Mapping[str, ModelCard]) -> None:
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise TritonUnavailable("away for a moment")
        self._requests += 1
        self._cards = self._cards | self._replacements.pop(self._requests, {})
        if any(self._cards[ensemble] != card for ensemble, card in asked.items()):
            raise NetworkReplaced("another network is served")

    def _see(self, task: Task, frame: Array) -> dict[str, Array]:
        if task is Task.SEGMENT:
            class_map = np.where(frame.max(axis=2) > 60, 1 + frame.argmax(axis=2), 0).astype(np.uint8)
            return {CLASS_MAP: class_map, SHARES: shares_of(class_map, len(AREA_LABELS))}
        colour = int(frame.reshape(-1, 3).mean(axis=0).argmax())
        if task is Task.CLASSIFY:
            return {SCORES: self.certainty[colour]}
        lit = np.argwhere(frame.max(axis=2) > 60)
        (top, left), (bottom, right) = (lit.min(axis=0), lit.max(axis=0) + 1) if len(lit) else ((0, 0), (0, 0))
        count = 1 if colour < 2 and len(lit) else 0
        return {
            BOXES: np.array([[left, top, right, bottom]] * count, np.float32).reshape(-1, 4),
            SCORES: np.full(count, 0.8, np.float32),
            CLASSES: np.full(count, colour, np.int32),
        }

    @contextmanager
    def _array(self, tensor: Array | SharedTensor) -> Iterator[Array]:
        if not isinstance(tensor, SharedTensor):
            self.sent_requests += 1
            yield tensor
            return
        self.shared_requests += 1
        if self.forgets_after and self.shared_requests == self.forgets_after:
            self.regions.clear()
        if tensor.region not in self.regions:
            raise ModelUnavailable(f"Unable to find shared memory region: '{tensor.region}'")  # as TritonClient does
        memory = SharedMemory(self.regions[tensor.region].removeprefix("/"))
        try:
            yield array_at(memoryview(memory.buf or b""), tensor.byte_offset, tensor.shape).copy()
        finally:
            memory.close()
