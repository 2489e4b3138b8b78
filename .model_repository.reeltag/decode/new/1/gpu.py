"""Decodes on an NVIDIA GPU what its decoders take, into tensors of the GPU; the pool of processes decodes the rest.

nvImageCodec decodes: first the chip's own JPEG engine, where it has one, then its other cores. A picture's header says
whether it is for them (`frames.Jpeg.is_plain`, its size); what they do not decode after all goes to the pool, which
then says what is wrong with it. Pixels are fitted into the views by products of matrices (`frames.Resampler`), with the
same geometry and the same weights as on the CPU. One thread does it, in the default stream: what requests bring while
it is at work is its next batch.

Memory on the GPU is bounded whatever a batch holds, see `frames.decoding_bytes`. Without memory a request fails as a
whole.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any, TypeGuard

import frames
import numpy as np
import numpy.typing as npt
import torch
from gpu_codec import Codec
from gpu_fitter import Fitter
from gpu_room import NoRoom, translated
from pool import LATE, Geometry, Picture, Pool


@dataclass(frozen=True)
class _Decode:
    """A picture that the GPU decodes."""

    picture: Picture
    header: frames.ImageHeader

    @property
    def pixels(self) -> int:
        return self.header.width * self.header.height


@dataclass(frozen=True)
class _Decoded:
    """A picture that came back from the pool."""

    picture: Picture
    arrays: Sequence[npt.NDArray[np.uint8]]
    result: Sequence[Geometry] | str | Exception


class GpuDecoder:
    """Decodes as `Pool` does, but into tensors of a GPU: `Picture.outs` are uint8 `(H, W, 3)` of them.

    Args:
        views: The views.
        pool: Decodes what the GPU does not; closed with this.
        device: The GPU; the CPU only serves to test all this without one.

    Raises:
        Exception: A library is missing or finds no GPU that it can use; the text says which.
    """

    def __init__(self, views: Sequence[frames.View], pool: Pool, device: torch.device) -> None:
        self._views, self._pool, self._device = views, pool, device
        self._fitter = Fitter(views, device)
        self._codec = Codec(device)
        self._queue: SimpleQueue[_Decode | _Decoded | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="decode-gpu", daemon=True)
        self._thread.start()

    @property
    def says(self) -> str:
        """What decodes, for the log."""
        most = frames.decoding_bytes(self._views, 32) >> 20
        return f"{self._device} ({self._codec.says}; {most} MiB at most for 32 pictures); the rest on the CPU"

    def empty(self, shape: Sequence[int]) -> torch.Tensor:
        """A uint8 tensor for pixels, on the GPU.

        Raises:
            NoRoom: It has no memory for it.
        """
        with translated():
            return torch.empty(tuple(shape), dtype=torch.uint8, device=self._device)

    def submit(self, pictures: Sequence[Picture]) -> None:
        """Decode these, and call `done` of each, in the thread of the GPU."""
        rest = []
        for picture in pictures:
            header = _plain_header(picture.file)
            if header is None:
                rest.append(self._for_pool(picture))
            else:
                self._queue.put(_Decode(picture, header))
        self._pool.submit(rest)

    def close(self) -> None:
        """End the thread and the pool; pictures that are not done stay so."""
        self._queue.put(None)
        self._thread.join()
        self._pool.close()

    def _for_pool(self, picture: Picture) -> Picture:
        arrays = [np.empty(tuple(out.shape), np.uint8) for out in picture.outs]

        def done(result: Sequence[Geometry] | str | Exception) -> None:
            self._queue.put(_Decoded(picture, arrays, result))

        return replace(picture, outs=arrays, done=done)

    def _serve(self) -> None:
        """Run; without this thread nothing would ever be answered, so that its end is the end of the process."""
        try:
            if self._device.type == "cuda":
                torch.cuda.set_device(self._device)
            while (first := self._queue.get()) is not None:
                jobs = [first, *self._waiting()]
                for job in jobs:
                    if isinstance(job, _Decoded):
                        self._take_over(job)
                for chunk in _chunks([job for job in jobs if isinstance(job, _Decode)]):
                    self._decode(chunk)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    def _waiting(self) -> Iterator[_Decode | _Decoded]:
        """All that came since, as far as it came before the end."""
        try:
            while True:
                job = self._queue.get_nowait()
                if job is None:
                    self._queue.put(None)
                    return
                yield job
        except Empty:
            return

    def _take_over(self, job: _Decoded) -> None:
        """Bring what the pool decoded to the GPU."""

        def copied() -> Sequence[Geometry] | str | Exception:
            if isinstance(job.result, str | Exception):
                self._clear(job.picture)
            else:
                for out, array in zip(job.picture.outs, job.arrays, strict=True):
                    out.copy_(torch.from_numpy(array))
            self._finish()
            return job.result

        job.picture.done(self._safely(copied))

    def _clear(self, picture: Picture) -> None:
        for out in picture.outs:
            out.zero_()

    def _decode(self, chunk: Sequence[_Decode]) -> None:
        results = self._safely(lambda: self._fitted(chunk))
        for i, job in enumerate(chunk):
            result = results if isinstance(results, Exception) else results[i]
            if result is None:
                self._pool.submit([self._for_pool(job.picture)])
            else:
                job.picture.done(result)

    def _fitted(self, chunk: Sequence[_Decode]) -> list[list[Geometry] | str | None]:
        """The geometry of each in its views, or why there is none; None where the pool is to say it."""
        results: list[list[Geometry] | str | None] = [None] * len(chunk)
        now = time.monotonic()
        late = [i for i, job in enumerate(chunk) if job.picture.until <= now]
        for i in late:
            self._clear(chunk[i].picture)
            results[i] = LATE
        due = [i for i in range(len(chunk)) if i not in late]
        decoded = self._codec.decode([chunk[i].picture.file for i in due])
        found = [(i, pixels) for i, pixels in zip(due, decoded, strict=True) if _is_of(pixels, chunk[i].header)]
        self._fitter.fit([(pixels, chunk[i].picture) for i, pixels in found])
        self._finish()
        for i, _ in found:
            results[i] = self._geometry(chunk[i])
        return results

    def _geometry(self, job: _Decode) -> list[Geometry]:
        size = job.header.width, job.header.height
        return [frames.geometry_of(self._views[view], *size).to_array() for view in job.picture.views]

    def _finish(self) -> None:
        """Wait until the GPU has done what it was asked for."""
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()

    def _safely(self, work: Callable[[], Any]) -> Any:
        """What the work gives, or the error that it ended with; where the GPU computes nothing any more, the end."""
        try:
            with translated():
                return work()
        except Exception as error:
            traceback.print_exc()
            if isinstance(error, NoRoom) and self._device.type == "cuda":
                torch.cuda.empty_cache()
            self._finish()  # raises where the context is lost: Triton then starts this backend anew
            return error


def _plain_header(file: bytes) -> frames.ImageHeader | None:
    """Header of a picture that is for the GPU; none of one for the pool, which also says what is wrong with it."""
    try:
        encoded = frames.read(file)
    except frames.ImageError:
        return None
    header = encoded.header
    longest = max(header.width, header.height)
    is_small = header.width * header.height <= frames.MOST_PIXELS and longest <= frames.LONGEST_SIDE
    return header if isinstance(encoded, frames.Jpeg) and is_small and encoded.is_plain else None


def _chunks(jobs: Sequence[_Decode]) -> Iterator[list[_Decode]]:
    """In their order, so many at one time as `frames.CHUNK_PIXELS` allows."""
    chunk: list[_Decode] = []
    for job in jobs:
        if chunk and sum(each.pixels for each in chunk) + job.pixels > frames.CHUNK_PIXELS:
            yield chunk
            chunk = []
        chunk.append(job)
    if chunk:
        yield chunk


def _is_of(pixels: torch.Tensor | None, header: frames.ImageHeader) -> TypeGuard[torch.Tensor]:
    return (
        pixels is not None and tuple(pixels.shape) == (header.height, header.width, 3) and pixels.dtype == torch.uint8
    )
