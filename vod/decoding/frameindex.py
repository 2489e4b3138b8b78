"""When each frame of a video is shown, as its packets say: what the file can be cut by, before anything is decoded."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

_MICROSECONDS: Final = 1e6

Times = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """All frames of a video in order of presentation."""

    times: Times
    """float64 `(n,)`: presentation times, seconds from the first frame, rising; rounded as `Timeline` does."""
    is_key: npt.NDArray[np.bool_]
    """bool `(n,)`: whether decoding can begin with the frame; true of the first one."""

    def __len__(self) -> int:
        return len(self.times)

    @property
    def keys(self) -> npt.NDArray[np.int64]:
        """int64 `(k,)`: indexes of the key frames, rising."""
        return np.flatnonzero(self.is_key)

    def of_keys(self) -> FrameIndex:
        """The key frames alone."""
        return FrameIndex(self.times[self.is_key], np.ones(int(self.is_key.sum()), np.bool_))

    def key_before(self, frame: int) -> float:
        """Time of the last key frame at or before a frame, seconds."""
        keys = self.keys
        return float(self.times[keys[np.searchsorted(keys, frame, side="right") - 1]])

    def to_text(self) -> str:
        """Compact and exact: base64 of deflated differences, a few hundred characters at a constant frame rate."""
        steps = np.diff(np.rint(self.times * _MICROSECONDS).astype("<i8"), prepend=0)
        packed = zlib.compress(np.diff(steps, prepend=0).tobytes() + np.packbits(self.is_key).tobytes(), 9)
        return f"{len(self)}:{base64.b64encode(packed).decode()}"

    @classmethod
    def from_text(cls, text: str) -> FrameIndex:
        """The reverse of `to_text`.

        Raises:
            ValueError: It is none.
        """
        count, _, packed = text.partition(":")
        n = int(count)
        data = zlib.decompress(base64.b64decode(packed))
        if len(data) != 8 * n + -(-n // 8):
            raise ValueError(f"an index of {n} frames does not have {len(data)} bytes")
        stamps = np.cumsum(np.cumsum(np.frombuffer(data, "<i8", n)))
        is_key = np.unpackbits(np.frombuffer(data, np.uint8, offset=8 * n), count=n).astype(np.bool_)
        return cls(stamps / _MICROSECONDS, is_key)
