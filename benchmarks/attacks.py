"""The attacks of `benchmarks/hostile.py`, by name: the files of each request, in the order that they are sent."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from PIL import Image

from benchmarks.hostile_files import (
    SIDE,
    WEBP_PICTURE,
    app,
    bmp,
    bomb,
    empty_blocks,
    exif,
    jpeg,
    many,
    png,
    png_chunk,
    riff_chunk,
    webp,
)

Requests = Sequence[Sequence[bytes]]
"""Files of each request."""

_MANY: Final = 31 << 20
"""Bytes of a flood: all but as large as a body may be."""
_IMAGES: Final = 32
"""Files in one request, at most."""


def _scans() -> Requests:
    return [[jpeg(scans=3000)], [jpeg(scans=3000, refining=False)], [jpeg(2048, scans=3000)], [jpeg(scans=400)]]


def _scans_within_limits() -> Requests:
    return [[jpeg(scans=50)], [jpeg(2048, scans=450)], [jpeg(512, scans=450)] * _IMAGES]


def _baseline_scans() -> Requests:
    return [[jpeg(scans=3000, marker=0xC1)], [jpeg(scans=40, marker=0xC0)]]


def _many_pngs() -> Requests:
    return [[png()] * _IMAGES, [png(depth=1, colours=0)] * _IMAGES, [png(depth=16)] * _IMAGES]


def _middling_pngs() -> Requests:
    return [[png(2048)] * _IMAGES, [png(4096, depth=1, colours=0)] * _IMAGES]


def _interlaced_pngs() -> Requests:
    return [[png(depth=1, colours=0, interlaced=True)] * _IMAGES, [png(interlaced=True)] * _IMAGES]


def _png_chunks() -> Requests:
    empty, text = png_chunk(b"tEXt", b"a\0"), png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b"))
    return [
        [png(64, before=many(empty, _MANY))],
        [png(64, after=many(text, _MANY))],
        [png(64, before=many(png_chunk(b"IDAT"), _MANY))],
        [png(64, after=many(empty, _MANY // _IMAGES))] * _IMAGES,
    ]


def _jpeg_segments() -> Requests:
    image = jpeg(64, scans=3)
    return [
        [jpeg(64, before=many(app(b""), _MANY))],
        [jpeg(64, before=many(app(b"", 0xFE), _MANY))],
        [jpeg(64, scans=1, between=many(app(b"", 0xFE), _MANY))],
        [jpeg(64, before=many(app(b""), _MANY // _IMAGES))] * _IMAGES,
        [image[:2] + many(b"\xff\x01", _MANY) + image[2:]],
    ]


def _jpeg_padding() -> Requests:
    image = jpeg(64, scans=3)
    return [
        [image[:2] + b"\xff" * _MANY + image[2:]],
        [b"\xff\xd8\xff\xfe\0\2" + b"\0" * _MANY + image[2:]],
        [jpeg(64, scans=1, between=b"\xff" * _MANY)],
        [(b"\xff\xd8" + b"\xff" * (_MANY // _IMAGES))] * _IMAGES,
    ]


def _exif() -> Requests:
    in_segment = app(b"Exif\0\0" + exif(4000, 10_000, orientation=6))
    of_png = exif(60_000, 900_000)
    pages = app(b"MPF\0" + exif(4000, 10_000))
    return [
        [jpeg(64, before=many(in_segment, 1 << 20))],
        [jpeg(64, before=many(pages, 1 << 20))],
        [png(64, before=png_chunk(b"eXIf", of_png))],
        [png(64, after=png_chunk(b"eXIf", exif(60_000, 900_000, order=">")))],
        [png(64, before=png_chunk(b"eXIf", b"Exif\0\0" * 300_000))],
        [webp(picture=WEBP_PICTURE, chunks=riff_chunk(b"EXIF", of_png))],
        [jpeg(64, before=many(in_segment, 1 << 19))] * _IMAGES,
    ]


def _bmp_deltas() -> Requests:
    jumps = b"\0\2\xff\xff" * 250
    return [
        [bmp(8192, 8192, jumps)],
        [bmp(8192, 8192, jumps, compression=2, bits=4)],
        [bmp(60_000, 1000, jumps + b"\0\1")],
        [bmp(8192, 8192, jumps)] * _IMAGES,
    ]


def _bmp_runs() -> Requests:
    return [
        [bmp(8192, 8192, many(b"\1\7", _MANY))],
        [bmp(8192, 8192, many(b"\0\0", _MANY))],
        [bmp(64, 64, many(b"\xff\1", _MANY))],
        [bmp(8192, 8192, many(b"\2\7", _MANY), compression=2, bits=4)],
        [bmp(1024, 1024, many(b"\1\7", _MANY // _IMAGES))] * _IMAGES,
    ]


def _bombs() -> Requests:
    profile = png_chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb(1))
    packet = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb(1))
    rows = png_chunk(b"IDAT", bomb(1024))
    return [
        [png(64, before=png_chunk(b"iCCP", b"a\0\0" + bomb(1024)))],
        [png(64, before=many(profile, 15 << 20))],
        [png(64, before=many(packet, 15 << 20))],
        [png(64, depth=8, pixels=bomb(1024))],
        [png(64, before=rows)],
        [png(64, pixels=empty_blocks(_MANY, bytes(64 * 257)))],
    ]


def _webps() -> Requests:
    head = riff_chunk(b"ANIM", bytes(6))
    frame = riff_chunk(b"ANMF", bytes(6) + bytes([15, 0, 0, 15, 0, 0, 0, 0, 0, 0]) + WEBP_PICTURE)
    return [
        [webp(flags=2, picture=head + many(frame, _MANY))],
        [webp(SIDE, flags=2, picture=head + frame)] * _IMAGES,
        [webp(picture=WEBP_PICTURE, chunks=many(riff_chunk(b"XXXX"), _MANY))],
        [webp(picture=many(riff_chunk(b"ALPH", b"\0"), _MANY) + WEBP_PICTURE)],
    ]


def _damaged() -> Requests:
    random, whole = np.random.default_rng(0), [png(256), jpeg(256, scans=3), webp(picture=WEBP_PICTURE)]
    for mode, kind in (
        ("RGB", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("RGBA", "WEBP"),
        ("P", "BMP"),
    ):
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (240, 320, 4), np.uint8)).convert(mode).save(buffer, kind)
        whole.append(buffer.getvalue())

    def damaged() -> bytes:
        file = bytearray(whole[random.integers(len(whole))])
        for place in random.integers(0, random.choice([len(file), 200]), random.integers(1, 5)):
            file[place % len(file)] = random.integers(256)
        return bytes(file[: random.integers(len(file) // 4, 2 * len(file))])

    return [[damaged() for _ in range(_IMAGES)] for _ in range(60)]


def _headers() -> Requests:
    small = jpeg(64)
    sized = [
        small.replace(struct.pack(">HH", 64, 64), struct.pack(">HH", height, width), 1)
        for height, width in ((65535, 65535), (1000, 65535), (65535, 1000))
    ]
    return [[file] * _IMAGES for file in sized] + [
        [bmp(1 << 30, 1 << 30, b"\0\1")],
        [bmp(8192, 8192, b"", compression=0)] * _IMAGES,
        [png(64).replace(struct.pack(">II", 64, 64), struct.pack(">II", 1 << 31, 1), 1)],
    ]


ATTACKS: Final[dict[str, Callable[[], Requests]]] = {
    "3,000 progressive scans": _scans,
    "scans within the limits": _scans_within_limits,
    "scans of a sequential JPEG": _baseline_scans,
    "32 PNGs of 8192x8192": _many_pngs,
    "32 PNGs of 2048 and 4096": _middling_pngs,
    "interlaced PNGs": _interlaced_pngs,
    "PNG chunks": _png_chunks,
    "JPEG segments": _jpeg_segments,
    "0xFF padding": _jpeg_padding,
    "overlapping EXIF entries": _exif,
    "RLE BMP with deltas": _bmp_deltas,
    "RLE BMP of runs": _bmp_runs,
    "compressed texts and rows": _bombs,
    "WebP": _webps,
    "sizes that the file does not hold": _headers,
    "damaged pictures": _damaged,
}
"""By the name in the table."""
