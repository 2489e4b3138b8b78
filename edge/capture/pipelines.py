"""GStreamer's elements for each kind of source: a head of its own, and a tail that all share."""

from __future__ import annotations

from typing import NamedTuple

from edge.capture.addresses import STAND_IN, Address

DEFAULT_SIZE = (1280, 720)
"""Columns and rows of a CSI camera or a stand-in that is told none, pixels."""
DEFAULT_RATE = 30.0
"""Frames a second, likewise."""
PACKAGES: dict[str, str] = {
    "nvarguscamerasrc": "JetPack's nvidia-l4t-camera and nvidia-l4t-gstreamer, on a Jetson",
    "nvvidconv": "JetPack's nvidia-l4t-gstreamer, on a Jetson",
    "v4l2src": "gstreamer1.0-plugins-good",
    "rtspsrc": "gstreamer1.0-plugins-good",
    "videoflip": "gstreamer1.0-plugins-good",
    "jpegdec": "gstreamer1.0-plugins-good",
    "decodebin": "gstreamer1.0-plugins-base",
    "videoconvert": "gstreamer1.0-plugins-base",
    "videotestsrc": "gstreamer1.0-plugins-base",
    "appsink": "gstreamer1.0-plugins-base",
}
"""Debian's packages (Ubuntu's, on a Jetson) of the elements."""
BINDINGS = "python3-gi gir1.2-gstreamer-1.0 gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base"
"""Packages without which there is no GStreamer at all."""


class Pipeline(NamedTuple):
    """A description for `gst_parse_launch`, and what is set by value, so that no name needs quoting."""

    text: str
    properties: list[tuple[str, object]]
    """Of the element `in`."""


def pipeline_of(address: Address, *, latency_ms: int, is_paced: bool) -> Pipeline:
    """The pipeline of a source; its last element is the appsink `out`, which gives NV12.

    Args:
        address: The source.
        latency_ms: How long RTSP waits for packets that are late.
        is_paced: A file comes at its own pace; otherwise as fast as it is taken.
    """
    head, properties = _head(address, latency_ms)
    sync = "true" if address.kind == "file" and is_paced else "false"
    # Nothing is dropped in here, where nobody would count it: the thread behind it only copies.
    tail = f"video/x-raw,format=NV12 ! appsink name=out max-buffers=4 drop=false sync={sync} qos=false"
    return Pipeline(f"{head} ! {tail}", properties)


def _head(address: Address, latency_ms: int) -> tuple[str, list[tuple[str, object]]]:
    if address.location == STAND_IN:
        # Live, as a camera: frames carry the time at which they were due. USB cameras give YUY2, CSI sensors NV12.
        caps = _caps("video/x-raw", address, default=True, format="YUY2" if address.kind == "usb" else "NV12")
        return f"videotestsrc name=in is-live=true pattern=ball ! {caps} ! videoconvert", []
    if address.kind == "csi":
        # nvvidconv takes the frame out of the camera's memory (NVMM); the format stays NV12.
        caps = _caps("video/x-raw(memory:NVMM)", address, default=True, format="NV12")
        return f"nvarguscamerasrc name=in ! {caps} ! nvvidconv", [("sensor-id", int(address.location))]
    if address.kind == "usb":
        # Most USB cameras give their larger sizes as JPEG alone.
        wanted = "; ".join(_caps(media, address, default=False) for media in ("video/x-raw", "image/jpeg"))
        return f'v4l2src name=in ! capsfilter caps="{wanted}" ! decodebin ! videoconvert', [
            ("device", address.location)
        ]
    if address.kind == "rtsp":
        seconds = 1_000_000  # of GStreamer's microseconds
        head = "rtspsrc name=in ! application/x-rtp,media=video ! decodebin ! videoconvert"
        said: list[tuple[str, object]] = [
            ("location", address.location),
            ("protocols", 4 if address.transport == "tcp" else 1),
        ]
        said += [("latency", latency_ms), ("drop-on-latency", True)]
        return head, [*said, ("timeout", 5 * seconds), ("tcp-timeout", 5 * seconds)]
    return "filesrc name=in ! decodebin ! videoconvert", [("location", address.location)]


def _caps(media: str, address: Address, *, default: bool, format: str = "") -> str:  # noqa: A002 - GStreamer's word
    width, height = address.width, address.height
    rate = address.rate
    if default:
        width, height = width or DEFAULT_SIZE[0], height or DEFAULT_SIZE[1]
        rate = rate or DEFAULT_RATE
    parts = [media]
    if format:
        parts.append(f"format={format}")
    if width and height:
        parts += [f"width={width}", f"height={height}"]
    if rate:
        parts.append(f"framerate={round(rate * 1000)}/1000")
    return ",".join(parts)
