"""Frames in a GPU's memory: NVDEC's pixels are scaled there, and lie in a ring that Triton reads there.

Luma and chroma are scaled on their own and become RGB at the size of the input, as `scaling.py` has swscale do it.
The device `cpu` serves to test all this without a GPU, on frames of the same layout (NV12).
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
import torch
from av.video.reformatter import Interpolation

from reeltag.errors import NotOnGpu
from reeltag.frames import Fit, Pixels, Resampler, View, geometry_of
from vod.decoding.blocks import RingLayout
from vod.decoding.geometry import Shape
from vod.decoding.scaling import Scaler

HANDLE_BYTES: Final = 64
"""Of `CUipcMemHandle`, by which another process opens memory of a GPU."""
_COEFFICIENTS: Final = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
"""Shares of red and blue in luma, by the code of the matrix (ITU-T H.273, table 4)."""
_BT601: Final = (0.299, 0.114)
"""Also where a stream states nothing, as swscale has it."""
_FULL_RANGE: Final = 2


def make_current(device: str) -> None:
    """Make PyTorch's context of a GPU this thread's, which FFmpeg then decodes in."""
    if torch.device(device).type == "cuda":
        torch.zeros(1, device=device)


def planes_of(frame: av.VideoFrame) -> tuple[torch.Tensor, torch.Tensor]:
    """Luma, uint8 `(H, W)`, and chroma, uint8 `(H/2, W/2, 2)`, without a copy.

    Raises:
        NotOnGpu: The frame has another layout than NV12.
    """
    try:
        luma, chroma = (torch.utils.dlpack.from_dlpack(plane.__dlpack__()) for plane in frame.planes)
    except (NotImplementedError, ValueError) as error:
        raise NotOnGpu(f"its frames are not of 4:2:0 ({error})") from error
    if luma.dtype != torch.uint8:
        raise NotOnGpu("its frames have more than 8 bits a sample")
    return luma, chroma


class DeviceScaler(Scaler):
    """Scales as `Scaler` does, within 6 levels of 255 and 2 in the mean, where the frame lies.

    Args:
        view: The input to fill.
        size: Columns and rows of the video as displayed.
        device: Where its frames are.
    """

    def __init__(self, view: View, size: tuple[int, int], device: str) -> None:
        super().__init__(view, size)
        self._device = torch.device(device)
        self._type = torch.float16 if self._device.type == "cuda" else torch.float32
        self._resample = Resampler(self._to_device)
        pad = view.pad_value if isinstance(view.pad_value, tuple) else (view.pad_value,) * 3
        self._pad = torch.tensor(pad, dtype=torch.uint8, device=self._device)
        self._colours: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def fit(self, frame: av.VideoFrame, shape: Shape, out: npt.NDArray[np.uint8]) -> None:
        """Write the frame into `out`, uint8 `(height, width, 3)` RGB of the view, in the host's memory."""
        np.copyto(out, self.fitted(frame, shape).cpu().numpy())

    def small(self, frame: av.VideoFrame, shape: Shape) -> Pixels:
        """The frame as the shot detector takes it: uint8 `(27, 48, 3)` RGB, stretched, in the host's memory."""
        pixels: Pixels = self._pixels(frame, shape).contiguous().cpu().numpy()
        return pixels

    def fitted(self, frame: av.VideoFrame, shape: Shape) -> torch.Tensor:
        """The view's input: uint8 `(height, width, 3)` RGB on the device."""
        pixels, view = self._pixels(frame, shape), self._view
        height, width = pixels.shape[:2]
        if view.fit is Fit.CENTER_CROP:
            top, left = (height - view.height) // 2, (width - view.width) // 2
            return pixels[top : top + view.height, left : left + view.width].contiguous()
        canvas = self._pad.expand(view.height, view.width, 3).contiguous()
        rows, columns = geometry_of(view, *self._size).picture
        top = rows.start + (rows.stop - rows.start - height) // 2
        left = columns.start + (columns.stop - columns.start - width) // 2
        canvas[top : top + height, left : left + width] = pixels
        return canvas

    def _pixels(self, frame: av.VideoFrame, shape: Shape) -> torch.Tensor:
        """uint8 `(h, w, 3)` RGB, upright, of the size that the plan says."""
        plan = self._plan(shape)
        if plan.size is None:
            raise NotOnGpu("its frames are too narrow, or become too long")
        orientation = shape.orientation
        width, height = plan.size[::-1] if orientation.transposes else plan.size
        pixels = self._rgb(frame, width, height, averages=plan.interpolation is Interpolation.AREA)
        if orientation.transposes:
            pixels = pixels.swapaxes(0, 1)
        turned = [axis for axis, is_so in enumerate((orientation.mirrors_rows, orientation.mirrors_columns)) if is_so]
        return pixels.flip(turned) if turned else pixels

    def _rgb(self, frame: av.VideoFrame, width: int, height: int, *, averages: bool) -> torch.Tensor:
        luma, chroma = planes_of(frame)
        is_even = width % 2 == 0
        y = self._resampled(luma[None], width, height, averages)
        uv = self._resampled(chroma.permute(2, 0, 1), width // 2 if is_even else width, height, averages)
        # swscale gives even widths half the columns of chroma, and works in whole numbers: of a limited range they come
        # out lower by a level and a half.
        is_lower = is_even and int(frame.color_range) != _FULL_RANGE
        if is_even:
            uv = torch.round(uv).repeat_interleave(2, -1)
        if is_lower:
            y = torch.floor(y - 0.5)
        matrix, offset = self._colour_of(frame)
        rgb = matrix @ torch.cat([y, uv]).reshape(3, -1) + offset
        rgb = torch.floor(rgb) if is_lower else torch.round(rgb)
        return rgb.clamp(0, 255).to(torch.uint8).reshape(3, height, width).permute(1, 2, 0)

    def _resampled(self, planes: torch.Tensor, width: int, height: int, averages: bool) -> torch.Tensor:
        planes = planes.to(self._type, memory_format=torch.contiguous_format)
        scaled: torch.Tensor = self._resample(planes, width, height, averages=averages)
        return scaled.float()

    def _colour_of(self, frame: av.VideoFrame) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 `(3, 3)` and `(3, 1)`: what makes RGB of luma and chroma."""
        told = int(frame.colorspace), int(frame.color_range)
        if told not in self._colours:
            made = _matrix(*_COEFFICIENTS.get(told[0], _BT601), is_full=told[1] == _FULL_RANGE)
            self._colours[told] = made[0].to(self._device), made[1].to(self._device)
        return self._colours[told]

    def _to_device(self, array: npt.NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.to(self._device, self._type if array.dtype == np.float32 else None)


def _matrix(red: float, blue: float, *, is_full: bool) -> tuple[torch.Tensor, torch.Tensor]:
    green = 1 - red - blue
    luma, chroma, black = (1.0, 1.0, 0.0) if is_full else (255 / 219, 255 / 224, 16.0)
    of_u = [0.0, -2 * blue * (1 - blue) / green * chroma, 2 * (1 - blue) * chroma]
    of_v = [2 * (1 - red) * chroma, -2 * red * (1 - red) / green * chroma, 0.0]
    matrix = torch.tensor([[luma] * 3, of_u, of_v], dtype=torch.float32).T.contiguous()
    return matrix, -(matrix @ torch.tensor([[black], [128.0], [128.0]]))


class DeviceRing:
    """The blocks of a ring in a GPU's memory, which other processes open by `handle`; laid out as in the host's.

    Args:
        layout: Of the ring.
        device: Whose memory it takes.

    Raises:
        OSError: There is no room, or the driver refuses.
    """

    def __init__(self, layout: RingLayout, device: str) -> None:
        self._layout = layout
        self.byte_size = max(1, layout.block_slots * layout.block_bytes)
        self.number = torch.device(device).index or 0
        """Of the GPU."""
        self.handle = bytes(HANDLE_BYTES)
        if torch.device(device).type == "cuda":
            make_current(device)
            self._owner = _Shareable(self.byte_size)
            self.handle = self._owner.handle()
            self._memory = torch.as_tensor(self._owner, device=device)
        else:
            self._memory = torch.empty(self.byte_size, dtype=torch.uint8)

    def fit(
        self,
        scaler: Scaler,
        frame: av.VideoFrame,
        shape: Shape,
        place: tuple[int, View, int],
        out: npt.NDArray[np.uint8],
    ) -> None:
        """Scale a frame into the ring, and copy it into the host's.

        Args:
            scaler: Of the view.
            frame: Decoded.
            shape: Of the frame.
            place: The slot, the view, and the frame's number in the block.
            out: In the host's ring, uint8 `(height, width, 3)`.
        """
        assert isinstance(scaler, DeviceScaler)
        pixels = scaler.fitted(frame, shape)
        self.frame(*place).copy_(pixels)
        np.copyto(out, pixels.cpu().numpy())  # which waits until both are there

    def frame(self, slot: int, view: View, number: int) -> torch.Tensor:
        """uint8 `(height, width, 3)`: where a frame of a block lies."""
        size = view.height * view.width * 3
        start = self._layout.view_offset(slot, view) + number * size
        return self._memory[start : start + size].view(view.height, view.width, 3)


class _Shareable:
    """Memory of the current context's GPU that was allocated on its own, so that other processes can open it."""

    def __init__(self, size: int) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._pointer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(self._pointer), ctypes.c_size_t(size))
        self.__cuda_array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (self._pointer.value, False),
            "version": 3,
        }

    def handle(self) -> bytes:
        handle = (ctypes.c_byte * HANDLE_BYTES)()
        self._call("cuIpcGetMemHandle", ctypes.byref(handle), self._pointer)
        return bytes(handle)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status:
            raise OSError(f"{name} failed with CUDA's error {status}")
