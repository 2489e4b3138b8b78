"""What the pool and its workers say to each other, over sockets that keep messages apart, and the limits they hold."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

JOB: Final = struct.Struct("<QQ?I")
"""To a worker: size of its desk, bytes of the file on it, whether the picture may be large, and views as a bit mask."""
DONE: Final = b"D"
"""First byte of an answer; the geometry of each view follows, float32 `(6,)`."""
FAILED: Final = b"F"
"""First byte of an answer; `code: text` follows."""
TOO_LARGE: Final = b"L"
"""First byte of an answer to a picture that was taken for an ordinary one; the estimate of its memory follows."""
MEMORY: Final = struct.Struct("<Q")
"""Bytes."""
STAYS: Final = b"S"
"""Second byte of an answer: the worker waits for its next job."""
LEAVES: Final = b"E"
"""Second byte of an answer: the worker ends."""
READY: Final = b"ready"
"""From the nursery, once."""
MAX_BYTES: Final = 4096
"""Of a message."""


@dataclass(frozen=True)
class Limits:
    """What pictures may take."""

    ordinary_seconds: float = 2.0
    """Processor time of an ordinary picture; it is estimated to need a twentieth at most."""
    large_seconds: float = 10.0
    """Processor time of a large picture, see `frames.ImageHeader.is_large`."""
    ordinary_bytes: int = 256 << 20
    """Memory of an ordinary picture beside its file."""
    large_bytes: int = 1 << 30
    """Memory of a large picture beside its file."""
    kept_bytes: int = 128 << 20
    """A worker that keeps more between two pictures, of memory that is its own, is replaced."""
    ordinary_wall_seconds: float = 10.0
    """Time that an ordinary picture may be at a worker that is stopped or starved; it then gets a second one."""
    large_wall_seconds: float = 60.0
    """Time that a large picture may be at a worker."""
