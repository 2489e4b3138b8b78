"""A Triton for the batcher whose answers tell which image they belong to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.queueing.ticket import Batched
from gateway.tritons.tagger import Wanted
from reeltag.contract import Task
from reeltag.triton import ImageOutputs

DETECT = Wanted((Task.DETECT,))
CLASSIFY = Wanted((Task.CLASSIFY,))
BOTH = Wanted((Task.DETECT, Task.CLASSIFY))


@dataclass
class Triton:
    """Answers image b"12:3" with width 12 and height 3, after `seconds`."""

    seconds: float = 1.0
    error: Exception | None = None
    batches: list[tuple[float, Wanted, list[bytes]]] = field(default_factory=list)
    """Start on the loop's clock, what was wanted, and images of each batch."""

    async def infer(self, wanted: Wanted, images: Sequence[bytes], deadline: float) -> list[ImageOutputs]:
        self.batches.append((asyncio.get_running_loop().time(), wanted, list(images)))
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return [_output(image) for image in images]

    @property
    def sizes(self) -> list[int]:
        return [len(images) for _, _, images in self.batches]


def _output(image: bytes) -> ImageOutputs:
    request, index = image.split(b":")
    return ImageOutputs(int(request), int(index), {}, {})


def images_of(request: int, count: int) -> list[bytes]:
    return [b"%d:%d" % (request, index) for index in range(count)]


def identities(batched: Batched) -> list[tuple[int, int] | str]:
    return [
        (answer.width, answer.height) if isinstance(answer, ImageOutputs) else answer.code for answer in batched.answers
    ]


def own(request: int, count: int) -> list[tuple[int, int]]:
    return [(request, index) for index in range(count)]
