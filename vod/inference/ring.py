"""Asks Triton about slots of the ring: through shared memory where it can, again where it was away for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from reeltag.contract import ModelCard, Task
from reeltag.errors import ImageRejected, InputError, NetworkReplaced, ReeltagError, ServiceError, SetupError
from reeltag.triton import ImageOutputs
from reeltag.triton_messages import SharedTensor
from vod.decoding.blocks import RingLayout, array_at
from vod.decoding.reader import VideoReader

Array = npt.NDArray[Any]
Result = TypeVar("Result")

PATIENCE_SECONDS: Final = 60.0
"""How long Triton may be away before a file is given up."""
REPLACEMENTS: Final = 3
"""How often a file is begun anew because Triton came to serve another network."""
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 4.0


class FrameTagger(Protocol):
    """What tagging needs of a server; `reeltag.triton.TritonClient` offers it."""

    async def cards(self) -> Mapping[str, ModelCard]:
        """Model cards by ensemble name."""
        ...

    async def card(self, ensemble: str) -> ModelCard:
        """Card of one ensemble; raises `ModelUnavailable`."""
        ...

    async def infer_frames(
        self, card: ModelCard, frames: Array | SharedTensor, *, class_maps: bool = False
    ) -> list[dict[str, Array]]:
        """What the network of this card says of each of the frames, uint8 `(N, H, W, 3)`: tensors by name.

        Raises:
            NetworkReplaced: Another one has taken its place.
        """
        ...

    async def infer_cuts(self, card: ModelCard, window: Array | SharedTensor) -> Array:
        """float32 `(N, T)` probabilities for windows, uint8 `(N, T, 27, 48, 3)`; as `infer_frames`."""
        ...

    async def infer_images(
        self, cards: Mapping[Task, ModelCard], images: Sequence[bytes], *, class_maps: bool = False
    ) -> list[ImageOutputs | ImageRejected]:
        """One answer for each encoded image; as `infer_frames`."""
        ...

    async def register_shared_memory(self, region: str, key: str, byte_size: int) -> None:
        """Let the server read a POSIX shared-memory object."""
        ...

    async def unregister_shared_memory(self, region: str) -> None:
        """Make it let go."""
        ...

    async def register_gpu_memory(self, region: str, handle: bytes, number: int, byte_size: int) -> None:
        """Let the server read memory of a GPU that another process shares by a handle."""
        ...

    async def unregister_gpu_memory(self, region: str) -> None:
        """Make it let go."""
        ...


async def with_patience(ask: Callable[[], Awaitable[Result]], *, patience_seconds: float = PATIENCE_SECONDS) -> Result:
    """Ask, and ask again with growing pauses while the server is away.

    Raises:
        ServiceError: It was away for longer than `patience_seconds`.
    """
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + patience_seconds, _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await ask()
        except ServiceError:
            if loop.time() + pause > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class RingInference:
    """Sends slots of one reader's ring to Triton; open it with `async with`.

    Args:
        client: The server.
        reader: Open; its ring is registered with the server where that works, else tensors are sent. Blocks that lie in
            a GPU's memory, too, are read there.
    """

    def __init__(self, client: FrameTagger, reader: VideoReader) -> None:
        self._client = client
        self._reader = reader
        self.is_shared = False
        """Whether Triton reads the ring itself."""
        self._may_share = True
        self.is_on_gpu = False
        """Whether Triton reads blocks in a GPU's memory."""
        self._may_share_gpu = True
        self._registering = asyncio.Lock()

    @property
    def _layout(self) -> RingLayout:
        return self._reader.layout

    async def __aenter__(self) -> RingInference:
        await self._register()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.is_shared:
            with suppress(ReeltagError, asyncio.TimeoutError):
                await asyncio.wait_for(self._client.unregister_shared_memory(self._reader.region), 2)
        if self.is_on_gpu:
            with suppress(ReeltagError, asyncio.TimeoutError):
                await asyncio.wait_for(self._client.unregister_gpu_memory(self._gpu_region), 2)

    async def frames(
        self, card: ModelCard, slot: int, count: int, *, class_maps: bool = False
    ) -> list[dict[str, Array]]:
        """What the network of this card says of each of the first `count` frames of a block: its tensors by name.

        `CLASS_MAP` is among them only with `class_maps`.
        """
        view = card.frames_view()
        shape, offset = self._layout.view_shape(view, count), self._layout.view_offset(slot, view)
        return await self._ask(
            lambda tensor: self._client.infer_frames(card, tensor, class_maps=class_maps), offset, shape, is_block=True
        )

    async def cuts(self, card: ModelCard, slot: int) -> Array:
        """float32 `(T,)`: probability that a shot ends with each frame of a window, by the detector of this card."""
        shape, offset = self._layout.window_shape, self._layout.window_offset(slot)
        asked = self._ask(lambda tensor: self._client.infer_cuts(card, tensor), offset, shape)
        probabilities: Array = (await asked)[0]
        return probabilities

    @property
    def _gpu_region(self) -> str:
        return f"{self._reader.region}_gpu"

    async def _ask(
        self,
        infer: Callable[[Array | SharedTensor], Awaitable[Result]],
        offset: int,
        shape: tuple[int, ...],
        *,
        is_block: bool = False,
    ) -> Result:
        async def once() -> Result:
            await self._register()
            if self.is_shared or (is_block and self.is_on_gpu):
                region = self._gpu_region if is_block and self.is_on_gpu else self._reader.region
                try:
                    return await infer(SharedTensor(region, offset, shape))
                except (InputError, SetupError, NetworkReplaced):
                    raise
                except ReeltagError as error:
                    # A server that was started again has forgotten the region, and says so in various ways.
                    self.is_shared = self.is_on_gpu = False
                    if isinstance(error, ServiceError):
                        raise
            return await infer(np.array(array_at(self._reader.buffer, offset, shape)))

        return await with_patience(once)

    async def _register(self) -> None:
        async with self._registering:
            await self._register_gpu()
            if self.is_shared or not self._may_share:
                return
            region = self._reader.region
            try:
                await self._client.unregister_shared_memory(region)
                await self._client.register_shared_memory(region, f"/{region}", self._layout.total_bytes)
                self.is_shared = True
            except ServiceError:
                return  # it is away: what is asked next says so
            except ReeltagError:
                self._may_share = False  # another host, or a container of its own: tensors are sent instead

    async def _register_gpu(self) -> None:
        """The blocks alone: windows are small, and are made of frames in the host's memory."""
        shared = self._reader.on_gpu
        if shared is None or self.is_on_gpu or not self._may_share_gpu:
            return
        try:
            await self._client.unregister_gpu_memory(self._gpu_region)
            await self._client.register_gpu_memory(self._gpu_region, shared.handle, shared.number, shared.byte_size)
            self.is_on_gpu = True
        except ServiceError:
            return
        except ReeltagError:
            self._may_share_gpu = False  # another host or container, or a server that sees no GPU
