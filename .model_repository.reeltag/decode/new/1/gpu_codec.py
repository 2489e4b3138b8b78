"""nvImageCodec: encoded JPEGs to pixels on the GPU."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import simplejpeg
import torch
from gpu_room import says_no_room

_PROBE_SIDE: Final = 256
_QUIET: Final = {"PYNVIMGCODEC_VERBOSITY": "0"}
"""nvImageCodec would write several lines for each damaged file."""


class Codec:
    """nvImageCodec's decoders, in the order in which they are tried.

    Args:
        device: The GPU; the CPU only serves to test all this without one.

    Raises:
        ImportError: The library is not installed.
        RuntimeError: It decodes no JPEG here.
    """

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
        """What decodes, in the order of the trials."""
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
            if says_no_room(error):
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
