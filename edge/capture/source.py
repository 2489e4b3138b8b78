"""What gives frames."""

from __future__ import annotations

from typing import Protocol

from reeltag.errors import ServiceError

from edge.capture.frame import Frame


class SourceLost(ServiceError):
    """A source gives no frames now, and may again: a camera that was unplugged, a network that is away."""


class Source(Protocol):
    """A camera, a file or a test pattern; used by one thread."""

    def open(self) -> None:
        """Begin to capture.

        Raises:
            SourceLost: Nothing is there now.
            SourceRefused: Nothing will be there: a file that is no video, a password that is wrong.
            SetupError: This machine lacks what the source needs; the text says which packages.
        """

    def read(self, frame: Frame) -> float | None:
        """Fill a frame with the next one.

        Returns:
            Seconds of the monotonic clock at which it was captured; none at the end of a file.

        Raises:
            SourceLost: None came in time.
            SourceRefused: It is damaged.
        """

    def close(self) -> None:
        """Stop capturing; may be called at any time, also twice."""
