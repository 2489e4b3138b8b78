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

import contextlib
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeGuard

import frames
import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from pool import LATE, Geometry, Picture, Pool

_PROBE_SIDE: Final = 256
_QUIET: Final = {"PYNVIMGCODEC_VERBOSITY": "0"}
"""nvImageCodec would write several lines for each damaged file."""


class NoRoom(Exception):
    """The GPU has too little free memory; its text is one that `reeltag.triton_errors` knows."""


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
        self._fitter = _Fitter(views, device)
        self._codec = _Codec(device)
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
        with _translated():
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
            with _translated():
                return work()
        except Exception as error:
            traceback.print_exc()
            if isinstance(error, NoRoom) and self._device.type == "cuda":
                torch.cuda.empty_cache()
            self._finish()  # raises where the context is lost: Triton then starts this backend anew
            return error


class _Codec:
    """nvImageCodec's decoders, in the order in which they are tried."""

    def __init__(self, device: torch.device) -> None:
        os.environ |= {name: value for name, value in _QUIET.items() if name not in os.environ}
        from nvidia import nvimgcodec as codec  # noqa: PLC0415  nothing of NVIDIA is imported where no GPU is used

        kinds = codec.BackendKind
        on_gpu = {"the JPEG engine": [kinds.HW_GPU_ONLY], "nvJPEG": [kinds.HYBRID_CPU_GPU, kinds.GPU_ONLY]}
        ways = on_gpu if device.type == "cuda" else {"libjpeg": [kinds.CPU_ONLY]}
        number = (device.index or 0) if device.type == "cuda" else codec.NVIMGCODEC_DEVICE_CPU_ONLY
        self._codec, self._device = codec, device
        self._params = codec.DecodeParams(apply_exif_orientation=False, color_spec=codec.ColorSpec.SRGB)
        probe = simplejpeg.encode_jpeg(np.full((_PROBE_SIDE, _PROBE_SIDE, 3), 99, np.uint8), colorsubsampling="420")
        self._decoders: dict[str, Any] = {}
        for name, allowed in ways.items():
            backends = [codec.Backend(kind, 1.0, codec.LoadHintPolicy.IGNORE) for kind in allowed]
            decoder = codec.Decoder(device_id=number, backends=backends, options=":fancy_upsampling=1")
            if self._decoded(decoder, [probe])[0] is not None:
                self._decoders[name] = decoder
        if not self._decoders:
            raise RuntimeError(f"nvImageCodec {codec.__version__} decodes no JPEG here; is nvidia-nvjpeg installed?")

    @property
    def says(self) -> str:
        return ", then ".join(self._decoders)

    def decode(self, files: Sequence[bytes]) -> list[torch.Tensor | None]:
        """uint8 `(H, W, 3)` RGB of each on the device; none where it cannot be decoded."""
        found: list[torch.Tensor | None] = [None] * len(files)
        for decoder in self._decoders.values():
            left = [i for i, pixels in enumerate(found) if pixels is None]
            for i, pixels in zip(left, self._decoded(decoder, [files[i] for i in left]), strict=True):
                found[i] = pixels
        return found

    def _decoded(self, decoder: Any, files: Sequence[bytes]) -> list[torch.Tensor | None]:
        if not files:
            return []
        streams = [self._stream_of(file) for file in files]
        good = [stream for stream in streams if stream is not None]
        try:
            images = iter(decoder.decode(good, params=self._params, cuda_stream=0) if good else [])
            return [None if stream is None else self._tensor(next(images)) for stream in streams]
        except Exception as error:
            if _says_no_room(error):
                raise
            traceback.print_exc()  # one of them made the library fail: each is tried on its own way
            return [None] * len(files)

    def _stream_of(self, file: bytes) -> Any:
        try:
            return self._codec.CodeStream(file)
        except Exception:  # pybind11 gives what its parser says as several types
            return None

    def _tensor(self, image: Any) -> torch.Tensor | None:
        if image is None:
            return None
        if self._device.type == "cuda":
            return torch.from_dlpack(image.to_dlpack())
        return torch.from_numpy(np.asarray(image))


class _Fitter:
    """Fits decoded pixels into views, as `frames.fit_pixels` does."""

    def __init__(self, views: Sequence[frames.View], device: torch.device) -> None:
        self._views, self._device = views, device
        # Numbers to 255 are exact in half precision, which takes half the memory and computes several times as fast.
        self._type = torch.float16 if device.type == "cuda" else torch.float32
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        self._resample = frames.Resampler(self._to_device)
        self._pads = [torch.tensor(_colour(view.pad_value), dtype=torch.uint8, device=device) for view in views]

    def fit(self, pictures: Sequence[tuple[torch.Tensor, Picture]]) -> None:
        """Write pictures, uint8 `(H, W, 3)` RGB, into `outs` of their views."""
        alike = sorted(pictures, key=_likeness)
        for _, group in groupby(alike, _likeness):
            same = list(group)
            height, width, _ = same[0][0].shape
            at_once = max(1, frames.FIT_PIXELS // self._most_pixels(height, width, same[0][1].views))
            for start in range(0, len(same), at_once):
                self._fit_alike(same[start : start + at_once])

    def _most_pixels(self, height: int, width: int, views: Sequence[int]) -> int:
        """Of such a picture, as it is decoded, with its rows resampled, or fitted: one may be far more than another."""
        places = [frames.placement_of(self._views[view], width, height, width, height) for view in views]
        return max(height * width, *(place.height * max(width, place.width) for place in places))

    def _fit_alike(self, pictures: Sequence[tuple[torch.Tensor, Picture]]) -> None:
        """Those of one size that are wanted in the same views."""
        stored = [pixels for pixels, _ in pictures]
        together = stored[0][None] if len(stored) == 1 else torch.stack(stored)
        planes = together.permute(0, 3, 1, 2).to(self._type, memory_format=torch.contiguous_format)
        height, width = planes.shape[-2:]
        for number, view in enumerate(pictures[0][1].views):
            place = frames.placement_of(self._views[view], width, height, width, height)
            scaled = self._resample(planes[..., place.rows, place.columns], place.width, place.height)
            scaled = scaled.round().clamp_(0, 255).permute(0, 2, 3, 1)
            for pixels, (_, picture) in zip(scaled, pictures, strict=True):
                out = picture.outs[number]
                if pixels.shape != out.shape:
                    out.copy_(self._pads[view].expand_as(out))
                out[place.input_rows, place.input_columns].copy_(pixels)

    def _to_device(self, array: npt.NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(self._device, self._type if array.dtype == np.float32 else None)


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


def _likeness(pair: tuple[torch.Tensor, Picture]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(pair[0].shape), tuple(pair[1].views)


def _colour(pad: int | frames.Colour) -> frames.Colour:
    return (pad, pad, pad) if isinstance(pad, int) else pad


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Errors for want of memory on the GPU become `NoRoom`, whichever library says so."""
    try:
        yield
    except NoRoom:
        raise
    except Exception as error:
        if _says_no_room(error):
            raise NoRoom("CUDA out of memory: the GPU has no room for these pictures") from error
        raise


def _says_no_room(error: Exception) -> bool:
    return "out of memory" in str(error).lower()
