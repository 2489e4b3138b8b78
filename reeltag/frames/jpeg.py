"""JPEG: markers to a header, and pixels from libjpeg-turbo, or from Pillow where there are four components."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg

from .colours import rgb_of_pillow
from .header import MAX_DECODE_SECONDS, MAX_IMAGE_PIXELS, ImageError, ImageHeader, damaged
from .orientation import orientation_of
from .views import Pixels

SIGNATURE: Final = b"\xff\xd8\xff"
MAX_SEGMENTS: Final = 1024
"""Most segments before the first scan, and most after it: an ICC profile has up to 255, an extended XMP packet some
hundreds, and each of the later scans a few."""
MAX_SCANS: Final = 500
"""Most scans, as libjpeg-turbo's fuzzers and TJFLAG_LIMITSCANS have it; encoders write about ten."""
_MAX_GAP: Final = 4096
"""Most fill bytes before a marker."""
_LITTLE: Final = 1 << 20
"""Files of so many bytes are looked through whatever they hold."""
_MARKER_SHARE: Final = 16
"""Of larger ones at most one byte in so many may begin a marker; in coded pixels it is one in 256."""

_SECONDS_PER_SAMPLE: Final = 2e-9
_SECONDS_PER_ARITHMETIC_SAMPLE: Final = 40e-9
_SECONDS_PER_PIXEL: Final = 10e-9
_SECONDS_PER_BYTE: Final = 8e-9
_BYTES_PER_PIXEL: Final = 3
_BYTES_PER_CMYK_PIXEL: Final = 7
"""Four in Pillow, and three as RGB."""
_BYTES_PER_COEFFICIENT: Final = 2
"""All are held where there are several scans."""
_REDUCED_SIDE: Final = 640
"""The shorter side at which decoding at a reduced scale may end."""

_MARKER: Final = re.compile(rb"\xff([^\x00\xff])")
_AFTER_DATA: Final = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_SOI, _EOI, _SOS, _APP1, _APP14, _COM = 0xD8, 0xD9, 0xDA, 0xE1, 0xEE, 0xFE
_END: Final = bytes([0xFF, _EOI])
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE: Final = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_BASELINE: Final = frozenset({0xC0, 0xC1})
"""Huffman codes, one scan, 8 bits; the second with more tables."""
_YCBCR_NAMES: Final = (b"\1\2\3", b"\0\1\2")
"""Names of components that are never those of RGB."""
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(frozen=True)
class _Segment:
    marker: int
    start: int
    """Of what follows the marker's length."""
    end: int


@dataclass(frozen=True)
class _Frame:
    """What a start-of-frame segment says."""

    marker: int
    width: int
    height: int
    ratios: dict[int, float]
    """By component, its samples a pixel."""


class Jpeg:
    """A JPEG file.

    Raises:
        ImageError: `not_an_image`, `truncated` or `too_costly`.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._kept: list[_Segment] = []
        """Segments that decoding needs."""
        exif, xmp, frame, scan = b"", b"", None, None
        for segment in _segments(data):
            marker, start, end = segment.marker, segment.start, segment.end
            if marker in _FRAMES:
                frame = frame or _frame(marker, data[start:end])
            elif marker == _APP1 and not exif and data.startswith(b"Exif\0\0", start):
                exif = data[start:end]
            elif marker == _APP1 and data.startswith(_XMP, start):
                xmp = data[start + len(_XMP) : end]
            if marker == _APP14 or not (0xE0 <= marker <= 0xEF or marker == _COM):
                self._kept.append(segment)
            if marker == _SOS:
                scan = segment
        if frame is None or scan is None:
            raise damaged("the JPEG has no size before its first scan")
        self._components = len(frame.ratios)
        self._frame = frame
        self._scan = scan
        # libjpeg takes the end of the data for the end of the picture and says so, which is refused as damage; with
        # the marker it says so only where pixels are missing.
        self._missing_end = b"" if data.rfind(_END, scan.end) >= 0 else _END
        seconds, memory = self._cost(frame)
        self.header = ImageHeader("JPEG", frame.width, frame.height, orientation_of(exif, xmp), seconds, memory)

    @property
    def is_plain(self) -> bool:
        """Whether any JPEG decoder takes it and shows the same: baseline, upright, grey or YCbCr, and not cut off.

        Other decoders than libjpeg do not say what they miss: of data that hold a marker where none belongs, or end
        without theirs, nothing is expected of them.
        """
        frame = self._frame
        if frame.marker not in _BASELINE or self._components == 4 or self.header.orientation != 1:
            return False
        if not self._is_sequential(frame) or (self._components == 3 and not self._is_ycbcr()):
            return False
        return self._ends_whole()

    def _ends_whole(self) -> bool:
        """Whether the first marker behind the scan's header that is no restart is the picture's end."""
        coded = np.frombuffer(self._data, np.uint8, offset=min(self._scan.end, len(self._data)))
        # A search by `re` takes longer, for 0xFF is not rare.
        behind = coded[np.flatnonzero(coded[:-1] == 0xFF) + 1]
        markers = behind[(behind != 0) & (behind != 0xFF) & ((behind < 0xD0) | (behind > 0xD7))]
        return bool(len(markers)) and int(markers[0]) == _EOI

    def _is_ycbcr(self) -> bool:
        """As libjpeg decides it, of three components."""
        adobe = [self._data[segment.start : segment.end] for segment in self._kept if segment.marker == _APP14]
        says_rgb = any(each.startswith(b"Adobe") and each[11:12] == b"\0" for each in adobe)
        return not says_rgb and bytes(self._frame.ratios) in _YCBCR_NAMES

    def pixels(self, min_width: int, min_height: int) -> Pixels:
        """Decode, at a reduced scale that keeps at least so many stored columns and rows; 0 for full size."""
        if self._components == 4:
            if self._missing_end:  # Pillow would not say that pixels are missing
                self._decoded("CMYK", 0, 0)
            return rgb_of_pillow(self._without_metadata(), self.header)
        return self._decoded("RGB", min_width, min_height)

    def _decoded(self, colours: str, min_width: int, min_height: int) -> Pixels:
        data = self._data + self._missing_end if self._missing_end else self._data
        try:
            pixels: Pixels = simplejpeg.decode_jpeg(data, colours, min_height=min_height, min_width=min_width)
        except ValueError as error:
            if "memory" in str(error):
                raise MemoryError(str(error)) from error
            raise damaged(f"the JPEG data is damaged or cut off ({error})") from error
        return pixels

    def _without_metadata(self) -> bytes:
        parts = [self._data[segment.start - 4 : segment.end] for segment in self._kept]
        return b"".join([b"\xff\xd8", *parts, self._data[self._scan.end :], self._missing_end])

    def _cost(self, frame: _Frame) -> tuple[float, int]:
        """Estimates of the time and of the memory that decoding takes; refuses what would take too long."""
        stored = frame.width * frame.height
        if stored > MAX_IMAGE_PIXELS:
            return 0.0, 0  # it is refused for its size
        is_cmyk = self._components == 4
        reduced = 1.0 if is_cmyk else min(8.0, max(1.0, min(frame.width, frame.height) / _REDUCED_SIDE))
        pixels = stored / reduced**2
        seconds = pixels * _SECONDS_PER_PIXEL + len(self._data) * _SECONDS_PER_BYTE
        rate = _SECONDS_PER_ARITHMETIC_SAMPLE if frame.marker >= 0xC9 else _SECONDS_PER_SAMPLE
        for scans, ratio in enumerate(self._scans(frame), 1):
            seconds += ratio * stored * rate
            if scans > MAX_SCANS or seconds > MAX_DECODE_SECONDS:
                raise ImageError(
                    "too_costly",
                    f"the JPEG has {scans} or more scans of {frame.width}x{frame.height}, which take too long to "
                    f"decode (at most {MAX_SCANS} are, in about {MAX_DECODE_SECONDS:.0f} seconds); "
                    "save it anew, baseline",
                )
        memory = pixels * (_BYTES_PER_CMYK_PIXEL if is_cmyk else _BYTES_PER_PIXEL)
        if not self._is_sequential(frame):
            memory += stored * sum(frame.ratios.values()) * _BYTES_PER_COEFFICIENT
        return seconds, int(memory)

    def _is_sequential(self, frame: _Frame) -> bool:
        """Whether libjpeg takes it for a single scan: a sequential frame whose first scan has every component."""
        return frame.marker not in _PROGRESSIVE and len(_components(self._data, self._scan)) >= len(frame.ratios)

    def _scans(self, frame: _Frame) -> Iterator[float]:
        """Samples a pixel of each scan."""
        data, scan = self._data, self._scan
        yield sum(frame.ratios.get(name, 1.0) for name in _components(data, scan))
        if self._is_sequential(frame):
            return
        position = scan.end
        if len(data) > _LITTLE and data.count(b"\xff", position) * _MARKER_SHARE > len(data):
            raise ImageError("too_costly", "the JPEG is made of little else than markers; save it anew, baseline")
        for _ in range(MAX_SEGMENTS):
            match = _AFTER_DATA.search(data, position)
            if match is None:
                return
            marker, position = match[1][0], match.end()
            if marker == _EOI:
                return
            if marker < 0xC0 or marker == _SOI:  # libjpeg does not know a length of these
                continue
            length = int.from_bytes(data[position : position + 2], "big")
            segment = _Segment(marker, position + 2, position + length)
            position += max(2, length)
            if marker == _SOS:
                yield sum(frame.ratios.get(name, 1.0) for name in _components(data, segment))
        raise _too_many_segments("after")


def _segments(data: bytes) -> Iterator[_Segment]:
    """The segments up to the first scan's."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        match = _MARKER.search(data, position, position + _MAX_GAP)
        if match is None and position + _MAX_GAP < len(data):
            raise ImageError(
                "too_costly", f"the JPEG has more than {_MAX_GAP:,} bytes between two markers; save it anew"
            )
        if match is None or match[1][0] == _EOI:
            raise damaged("the JPEG ends before its first scan")
        marker, position = match[1][0], match.end()
        if marker < 0xC0 or 0xD0 <= marker <= _SOI:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        if length < 2 or position + length > len(data):
            raise damaged("the JPEG's header is damaged or cut off")
        yield _Segment(marker, position + 2, position + length)
        if marker == _SOS:
            return
        position += length
    raise _too_many_segments("before")


def _too_many_segments(where: str) -> ImageError:
    return ImageError(
        "too_costly", f"the JPEG has more than {MAX_SEGMENTS:,} segments {where} its first scan; save it anew, baseline"
    )


def _frame(marker: int, content: bytes) -> _Frame:
    if len(content) < 6 or len(content) < 6 + 3 * content[5]:
        raise damaged("the JPEG's frame header is damaged")
    if content[0] != 8:
        raise ImageError("not_an_image", f"a JPEG of {content[0]} bits a sample is not decoded; save it with 8")
    if content[5] not in (1, 3, 4):
        raise ImageError("not_an_image", f"a JPEG of {content[5]} components is not decoded; save it as RGB")
    height, width = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
    components = [content[6 + 3 * i : 9 + 3 * i] for i in range(content[5])]
    areas = {c[0]: (c[1] >> 4) * (c[1] & 15) for c in components}
    largest = max(c[1] >> 4 for c in components) * max(c[1] & 15 for c in components)
    if not width or not height or not all(areas.values()) or len(areas) < len(components):
        raise damaged("the JPEG's frame header is damaged")
    return _Frame(marker, width, height, {name: area / largest for name, area in areas.items()})


def _components(data: bytes, scan: _Segment) -> bytes:
    """Names of the components that a start-of-scan segment lists."""
    count = data[scan.start] if scan.start < len(data) else 0
    return data[scan.start + 1 : min(scan.end, scan.start + 1 + 2 * count) : 2]
