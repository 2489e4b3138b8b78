"""Where frames come from, as people write it."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from reeltag.errors import SourceRefused

STAND_IN = "stand-in"
"""In place of a camera: GStreamer's test picture, in the form that the camera would give."""
_KINDS = ("csi", "usb", "pattern")
_FORM = re.compile(r"(?P<device>[^,]*?)(?:,?(?P<width>\d+)x(?P<height>\d+)(?:@(?P<rate>\d+(?:\.\d+)?))?)?")
FORMS = (
    "a video file, rtsp://USER:PASSWORD@HOST/PATH, csi:0,1920x1080@30, usb:/dev/video0,1280x720@30 or "
    "pattern:1280x720@30"
)


class Address(NamedTuple):
    """A source of frames."""

    kind: str
    """`csi`, `usb`, `rtsp`, `file` or `pattern`."""
    location: str
    """Number of the sensor, device file, URL or path."""
    width: int | None = None
    """Columns that are asked for, pixels."""
    height: int | None = None
    """Rows that are asked for, pixels."""
    rate: float | None = None
    """Frames a second that are asked for."""
    transport: str = "tcp"
    """Of RTSP: `tcp` or `udp`."""

    @property
    def name(self) -> str:
        """For people, logs and events: without a password."""
        if self.kind != "rtsp":
            return self.location if self.kind == "file" else f"{self.kind}:{self.location}".rstrip(":")
        parts = urlsplit(self.location)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @property
    def is_live(self) -> bool:
        """Whether frames come when they come, and come again after a fault."""
        return self.kind != "file"


def parse(text: str, *, transport: str = "tcp") -> Address:
    """Read an address.

    Args:
        text: One of `FORMS`.
        transport: Of RTSP: `tcp`, which loses nothing, or `udp`, which waits for nothing.

    Raises:
        SourceRefused: It is none; the text says which there are.
    """
    if not text:
        raise SourceRefused(f"an empty text is no source; a source is {FORMS}")
    if transport not in ("tcp", "udp"):
        raise SourceRefused(f"RTSP comes by tcp or udp, not by {transport!r}")
    scheme, colon, rest = text.partition(":")
    if scheme in ("rtsp", "rtsps") and colon:
        if not urlsplit(text).hostname:
            raise SourceRefused(f"{text} names no host; a source is {FORMS}")
        return Address("rtsp", text, transport=transport)
    if re.fullmatch(r"/dev/video\d+", text):
        return Address("usb", text)
    if scheme in _KINDS and colon:
        return _camera(scheme, rest[2:] if rest.startswith("//") else rest)  # csi://0 is csi:0
    if re.match(r"[a-z][a-z0-9+]*://", text):
        raise SourceRefused(f"{scheme}:// is not looked at by `reeltag watch`; a source is {FORMS}")
    return Address("file", text)


def _camera(kind: str, rest: str) -> Address:
    match = _FORM.fullmatch(rest)
    if match is None:
        raise SourceRefused(f"{kind}:{rest} is not of the form {kind}:DEVICE,WIDTHxHEIGHT@RATE; a source is {FORMS}")
    device = match["device"] or ("" if kind == "pattern" else "0" if kind == "csi" else "/dev/video0")
    if kind == "csi" and not (device.isdigit() or device == STAND_IN):
        raise SourceRefused(f"csi:{device} is no sensor; sensors have numbers, as in csi:0")
    if kind == "usb" and not (device.startswith("/") or device == STAND_IN):
        raise SourceRefused(f"usb:{device} is no device; devices are files, as in usb:/dev/video0")
    if kind == "pattern" and device:
        raise SourceRefused(f"pattern:{device} is none; a test pattern has a size and a rate: pattern:1280x720@30")
    width, height, rate = match["width"], match["height"], match["rate"]
    size = (int(width), int(height)) if width else (None, None)
    if size != (None, None) and not all(16 <= side <= 16384 for side in size if side is not None):
        raise SourceRefused(f"{kind}:{rest}: sides are 16 to 16384 pixels")
    if rate and not float(rate) > 0:
        raise SourceRefused(f"{kind}:{rest}: {rate} frames a second are none; right is a rate above 0")
    return Address(kind, device, size[0], size[1], float(rate) if rate else None)
