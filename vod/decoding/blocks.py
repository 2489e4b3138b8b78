"""The shared-memory ring between the decoding child and its parent, and the messages that go with it.

The ring holds two kinds of slots: blocks of sampled frames, one contiguous tensor a view, and windows for the shot
detector. The child fills a free slot and says so; the parent gives the slot back when Triton has read it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

from reeltag.contract import SHOT_WINDOW_FRAMES
from reeltag.frames import View
from reeltag.tags import Gap
from vod.decoding.frameindex import FrameIndex
from vod.decoding.parts import Part
from vod.decoding.sampling import Sample

SHOT_FRAME: Final = View.parse("LETTERBOX_27X48_PAD0")
"""Size of a frame for the shot detector; the picture is stretched to it, as TransNetV2 was trained."""
_ALIGNMENT: Final = 64


class SlotKind(str, Enum):
    """What a slot of the ring holds."""

    BLOCK = "block"
    WINDOW = "window"


@dataclass(frozen=True)
class RingLayout:
    """Where everything lies in the ring."""

    views: tuple[View, ...]
    """One tensor of each in every block."""
    block_frames: int = 8
    """Frames that a block holds at most."""
    block_slots: int = 4
    window_slots: int = 3
    window_frames: int = SHOT_WINDOW_FRAMES
    """Frames that a window for the shot detector takes."""

    def slots(self, kind: SlotKind) -> int:
        """How many slots of a kind there are."""
        return self.block_slots if kind is SlotKind.BLOCK else self.window_slots

    @property
    def block_bytes(self) -> int:
        """Size of one block with all its views."""
        return sum(self._view_bytes(view) for view in self.views)

    @property
    def window_shape(self) -> tuple[int, int, int, int, int]:
        """`(1, window_frames, 27, 48, 3)`."""
        return (1, self.window_frames, SHOT_FRAME.height, SHOT_FRAME.width, 3)

    @property
    def window_bytes(self) -> int:
        """Size of one window."""
        return _aligned(math.prod(self.window_shape))

    @property
    def total_bytes(self) -> int:
        """Size of the whole ring."""
        return self.block_slots * self.block_bytes + self.window_slots * self.window_bytes

    def view_offset(self, slot: int, view: View) -> int:
        """First byte of a view's tensor in a block."""
        before = self.views[: self.views.index(view)]
        return slot * self.block_bytes + sum(self._view_bytes(other) for other in before)

    def view_shape(self, view: View, frames: int) -> tuple[int, int, int, int]:
        """`(frames, height, width, 3)`."""
        return (frames, view.height, view.width, 3)

    def window_offset(self, slot: int) -> int:
        """First byte of a window."""
        return self.block_slots * self.block_bytes + slot * self.window_bytes

    def _view_bytes(self, view: View) -> int:
        return _aligned(math.prod(self.view_shape(view, self.block_frames)))


def array_at(buffer: memoryview, offset: int, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """A uint8 array of `shape` that shares the buffer's memory from `offset` bytes on."""
    return np.frombuffer(buffer, np.uint8, math.prod(shape), offset).reshape(shape)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


@dataclass(frozen=True)
class Scan:
    """Order: decode the video once from its start, or a part of it."""

    sample: Sample
    """`SHOTS` samples no frame: it only fills windows."""
    fps: float
    """Frames sampled a second, or their upper limit for key frames."""
    part: Part | None = None
    """All of the video without one."""


@dataclass(frozen=True)
class Survey:
    """Order: read the packets, and say which frames there are."""


@dataclass(frozen=True)
class Fetch:
    """Order: decode only what is needed to sample some frames."""

    groups: tuple[tuple[float, ...], ...]
    """Presentation times of frames in seconds from the first frame, rising throughout; of each group the sharpest is
    sampled."""

    @property
    def times(self) -> tuple[float, ...]:
        """Of all frames in question, rising."""
        return tuple(time for group in self.groups for time in group)


@dataclass(frozen=True)
class Release:
    """Order: the slot may be filled again."""

    kind: SlotKind
    slot: int


@dataclass(frozen=True)
class Probe:
    """Report: what the file says of itself."""

    width: int
    """Columns as displayed, after rotation and with square pixels."""
    height: int
    frame_rate: float
    """Mean frames a second; 0 when unknown."""
    duration_seconds: float | None
    """As stated by the file, from the first frame, or guessed where it states nothing; None when unknown."""


@dataclass(frozen=True)
class OnGpu:
    """Report, before any other: a GPU decodes, and the blocks lie in its memory, too, as they do in the host's."""

    handle: bytes
    """`CUipcMemHandle`, by which another process opens that memory."""
    number: int
    """Of the GPU."""
    byte_size: int


@dataclass(frozen=True)
class Surveyed:
    """Report: the file was read, and no frame of it decoded."""

    index: FrameIndex | str
    """Of all frames; or why its packets cannot be trusted."""


@dataclass(frozen=True)
class FrameBlock:
    """Report: a block slot was filled."""

    slot: int
    times: tuple[float, ...]
    """Presentation time of each frame, seconds from the first frame."""


@dataclass(frozen=True)
class ShotWindow:
    """Report: a window slot was filled."""

    slot: int
    times: tuple[float, ...]
    """Presentation times of the frames after the leading context, whose probabilities count; at least 1."""


@dataclass(frozen=True)
class Position:
    """Report: decoding has reached this time and goes on."""

    seconds: float


@dataclass(frozen=True)
class End:
    """Report: the order was carried out."""

    frames_decoded: int
    end_seconds: float
    """Where the last decoded frame's display ends."""
    duration_seconds: float
    """Of the whole video: `end_seconds`, or later where the file states that it is longer."""
    gaps: tuple[Gap, ...]


@dataclass(frozen=True)
class Failed:
    """Report: the video cannot be tagged; the child ends."""

    message: str
    is_other: bool = False
    """Whether it is only not what its packets told: decoded in one go it may well be tagged."""
    is_for_cpu: bool = False
    """Whether a GPU could not decode it: decoded by the CPU it may well be tagged."""


Order = Survey | Scan | Fetch | Release
Report = OnGpu | Probe | Surveyed | FrameBlock | ShotWindow | Position | End | Failed
