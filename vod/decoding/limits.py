"""What one video may cost: beyond it the child gives up, or is ended, and that video fails alone."""

from __future__ import annotations

import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reeltag.errors import VideoError

_HUNG_FACTOR: Final = 1.5
"""Of the silence that the parent bears: after it the child is ended by the kernel, should the parent be gone."""


@dataclass(frozen=True)
class Limits:
    """For the decoding of one video."""

    silence_seconds: float = 60.0
    """The child is killed when it reports nothing for so long: it hangs."""
    memory_bytes: int = 8 << 30
    """Address space beside what the child begins with: 8K with 10 bits is 100 MB a frame, of which 48 may be held."""
    frameless_seconds: float = 300.0
    """Processor time without a frame that can be shown: what is there is no video any more."""
    frames: int = 20_000_000
    """Of a pass over the video: nine days at 25 a second. A file that goes on for ever ends here."""


class Meter:
    """The child's own eye on its limits; made in the child, once.

    Args:
        limits: Of the video.
        name: Of the file, for errors.
        bounds_memory: Whether the process's memory is bounded; a process that uses CUDA maps the whole of the GPU's.
    """

    def __init__(self, limits: Limits, name: str, *, bounds_memory: bool = True) -> None:
        self._limits = limits
        self._name = name
        self._frames = 0
        self._last_frame = time.process_time()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if bounds_memory:
            resource.setrlimit(resource.RLIMIT_AS, (_mapped_bytes() + limits.memory_bytes,) * 2)
        # A decoder that hangs inside of C cannot hear that the parent is gone, and Python's handlers would not run.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self.works()

    def works(self) -> None:
        """The child has got on: the alarm that would end it starts again."""
        signal.setitimer(signal.ITIMER_REAL, _HUNG_FACTOR * self._limits.silence_seconds)

    def waits(self) -> None:
        """The child waits for its parent, however long that takes."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def packet(self) -> None:
        """A packet was decoded.

        Raises:
            VideoError: For too long none gave a frame.
        """
        if time.process_time() - self._last_frame > self._limits.frameless_seconds:
            raise VideoError(
                f"{self._name}: {self._limits.frameless_seconds:g} s of decoding gave no frame; it was given up"
            )

    def frame(self) -> None:
        """A frame was decoded.

        Raises:
            VideoError: There are too many.
        """
        self._last_frame = time.process_time()
        self._frames += 1
        if self._frames > self._limits.frames:
            raise VideoError(f"{self._name} holds more than {self._limits.frames} frames; cut it into several files")

    def begins(self) -> None:
        """A pass over the video begins."""
        self._frames, self._last_frame = 0, time.process_time()


def _mapped_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
