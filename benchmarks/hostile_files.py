"""Small files that cost much, made here byte by byte: what `benchmarks/hostile.py` sends, and the tests decode."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

SIDE: Final = 8192
"""Columns and rows of the largest picture that is taken."""

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _RGBA = 0, 2, 6
_CHANNELS: Final = {_GREY: 1, _RGB: 3, _RGBA: 4}


def png_chunk(kind: bytes, content: bytes = b"") -> bytes:
    """One chunk with its checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    side: int = SIDE,
    *,
    depth: int = 8,
    colours: int = _RGBA,
    interlaced: bool = False,
    before: bytes = b"",
    after: bytes = b"",
    pixels: bytes | None = None,
) -> bytes:
    """A black square.

    Args:
        side: Columns and rows.
        depth: Bits a channel.
        colours: PNG's colour type.
        interlaced: Whether its rows come in seven passes.
        before: Chunks before the pixels.
        after: Chunks behind them.
        pixels: The compressed pixels, where they are not black.
    """
    header = struct.pack(">IIBBBBB", side, side, depth, colours, 0, 0, interlaced)
    if pixels is None:
        row = bytes(1 + side * depth * _CHANNELS[colours] // 8)
        pixels = deflated(row for _ in range(side * 5 // 4 if interlaced else side))
    image = png_chunk(b"IDAT", pixels)
    return _PNG + png_chunk(b"IHDR", header) + before + image + after + png_chunk(b"IEND")


def deflated(parts: Iterator[bytes]) -> bytes:
    """Compress without holding the whole."""
    compressor = zlib.compressobj(9)
    return b"".join([*(compressor.compress(part) for part in parts), compressor.flush()])


def bomb(mebibytes: int) -> bytes:
    """Compressed zeros."""
    return deflated(bytes(1 << 20) for _ in range(mebibytes))


def many(chunk: bytes, count: int) -> bytes:
    """As many bytes of it, in whole pieces."""
    return chunk * (count // len(chunk))


def jpeg(
    side: int = SIDE,
    *,
    scans: int = 0,
    refining: bool = True,
    before: bytes = b"",
    between: bytes = b"",
    marker: int = 0xC2,
) -> bytes:
    """A grey square in progressive scans, nearly all of which change nothing.

    Args:
        side: Columns and rows.
        scans: How many follow the first.
        refining: Whether they refine coefficients, which looks at each one.
        before: Segments before the frame header.
        between: What stands before each of the later scans.
        marker: Of the frame header.
    """
    blocks = ((side + 7) // 8) ** 2
    frame = struct.pack(">BHHB", 8, side, side, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    # One code of one bit in each table: a difference of none, and a run of 2^14 and more blocks without coefficients.
    tables = _segment(0xC4, bytes([0x00, 1, *[0] * 15, 0x00])) + _segment(0xC4, bytes([0x10, 1, *[0] * 15, 0xE0]))
    start = b"\xff\xd8" + before + _segment(0xDB, bytes([0, *[1] * 64])) + _segment(marker, frame) + tables
    first = _segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 0, 0, 0])) + bytes((3 * blocks + 7) // 8)
    approximation = 0x21 if refining else 0x01
    runs = _runs_of_nothing(blocks)
    later = [between + _segment(0xDA, bytes([1, 1 + i % 3, 0, 1, 63, approximation])) + runs for i in range(scans)]
    return start + first + b"".join(later) + b"\xff\xd9"


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def _runs_of_nothing(blocks: int) -> bytes:
    """End-of-band runs, each of at most 32,767 blocks: a code of one bit, and fourteen more."""
    bits = ""
    while blocks >= 1 << 14:
        run = min(blocks, (1 << 15) - 1)
        bits += f"0{run - (1 << 14):014b}"
        blocks -= run
    padded = bits + "1" * (-len(bits) % 8)
    return int(padded, 2).to_bytes(len(padded) // 8, "big").replace(b"\xff", b"\xff\0") if padded else b""


def app(content: bytes, marker: int = 0xE1) -> bytes:
    """One application segment of a JPEG."""
    return _segment(marker, content)


def exif(entries: int, pointed_bytes: int, *, orientation: int | None = None, order: str = "<") -> bytes:
    """A TIFF block whose entries all point to the same bytes.

    Args:
        entries: How many.
        pointed_bytes: Length of what each of them points to.
        orientation: Of a first entry, where there is one.
        order: `<` or `>`.
    """
    count = entries + (orientation is not None)
    start = 8 + 2 + 12 * count + 4
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HLH", 42, 8, count)
    if orientation is not None:
        head += struct.pack(f"{order}HHLHH", 0x0112, 3, 1, orientation, 0)
    tags = (struct.pack(f"{order}HHLL", 0x9000 + i % 0x6000, 7, pointed_bytes, start) for i in range(entries))
    return head + b"".join(tags) + bytes(4) + bytes(min(pointed_bytes, 1 << 20))


def webp(side: int = 16, *, chunks: bytes = b"", picture: bytes = b"", flags: int = 0x08) -> bytes:
    """An extended WebP file of the given chunks.

    Args:
        side: Columns and rows of the canvas.
        chunks: Behind the picture.
        picture: Chunks of the picture.
        flags: Of what there is: 2 animation, 8 EXIF.
    """
    canvas = bytes([flags, 0, 0, 0]) + (side - 1).to_bytes(3, "little") * 2
    content = b"WEBP" + riff_chunk(b"VP8X", canvas) + picture + chunks
    return b"RIFF" + struct.pack("<I", len(content)) + content


def riff_chunk(kind: bytes, content: bytes = b"") -> bytes:
    """One chunk of a WebP file."""
    return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def bmp(width: int, height: int, code: bytes, *, compression: int = 1, bits: int = 8) -> bytes:
    """A bitmap of 256 colours whose pixels are run-length code."""
    palette = b"".join(bytes([i, i // 2, 255 - i, 0]) for i in range(1 << bits))
    where = 54 + len(palette)
    head = struct.pack("<IHHI", where + len(code), 0, 0, where)
    return (
        b"BM"
        + head
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(code), 0, 0, 1 << bits, 0)
        + palette
        + code
    )


def empty_blocks(count: int, pixels: bytes) -> bytes:
    """A deflate stream that begins with as many bytes of blocks that hold nothing."""
    return b"\x78\x9c" + many(b"\0\0\0\xff\xff", count) + zlib.compress(pixels)[2:]


WEBP_PICTURE: Final = riff_chunk(b"VP8L", bytes.fromhex("2f0fc003000750e42ad4a3ff8188e87f00"))
"""One colour, 16x16 pixels, lossless."""
