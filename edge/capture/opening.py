"""The source that an address means here."""

from __future__ import annotations

from reeltag.errors import SetupError

from edge.capture import gstreamer
from edge.capture.addresses import Address
from edge.capture.gstreamer import GStreamerSource
from edge.capture.plain import OpenCvFile, Pattern
from edge.capture.source import Source


def source_of(
    address: Address, *, is_paced: bool = True, frames: int | None = None, latency_ms: int = 100, timeout: float = 10
) -> Source:
    """The source of an address: GStreamer, and without it files through OpenCV; test patterns are drawn here.

    Args:
        address: The source.
        is_paced: Files and patterns come at their own pace; otherwise as fast as they are taken.
        frames: A pattern ends after so many.
        latency_ms: How long RTSP waits for late packets.
        timeout: Longest wait for a frame, seconds.

    Raises:
        SetupError: A camera needs GStreamer, which is not here; the text says which packages.
    """
    if address.kind == "pattern":
        return Pattern(address, is_paced=is_paced, frames=frames)
    try:
        gstreamer.load()
    except SetupError:
        if address.kind == "file":
            return OpenCvFile(address, is_paced=is_paced)
        raise
    return GStreamerSource(address, is_paced=is_paced, latency_ms=latency_ms, timeout=timeout)
