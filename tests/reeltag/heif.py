"""Writes HEIC files: HEVC pictures in the boxes of ISO/IEC 23008-12."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from reeltag.frames import Pixels


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


@dataclass(frozen=True)
class Coded:
    """One HEVC picture and its decoder configuration."""

    config: bytes
    data: bytes
    width: int
    height: int


def coded(pixels: Pixels) -> Coded:
    """Code a picture, uint8 `(H, W, 3)` RGB of even sides, without loss but for the colours."""
    height, width = pixels.shape[:2]
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"  # type: ignore[attr-defined]
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"x265-params": "log-level=none:keyint=1:repeat-headers=1:qp=4:pools=1:frame-threads=1:info=0"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    stream = b"".join(bytes(p) for f in (frame, None) for p in encoder.encode(f))  # type: ignore[attr-defined]
    units = [unit for unit in stream.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
    kinds: dict[int, list[bytes]] = {}
    for unit in units:
        kinds.setdefault(unit[0] >> 1 & 0x3F, []).append(unit)
    sps = kinds[33][0].replace(b"\0\0\3", b"\0\0")
    head = bytes([1]) + sps[3:15] + struct.pack(">HBBBBHB", 0xF000, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0x0F)
    arrays = b"".join(
        struct.pack(">BHH", 0x80 | kind, 1, len(kinds[kind][0])) + kinds[kind][0] for kind in (32, 33, 34)
    )
    pictures = [unit for kind, those in kinds.items() if kind < 32 for unit in those]
    data = b"".join(struct.pack(">I", len(unit)) + unit for unit in pictures)
    return Coded(head + b"\3" + arrays, data, width, height)


def heic(tiles: Sequence[Coded], *, columns: int = 1, size: tuple[int, int] | None = None, more: bytes = b"") -> bytes:
    """A HEIC of one picture, or of a grid of tiles.

    Args:
        tiles: Row by row.
        columns: Of the grid.
        size: Columns and rows of the whole picture; the tiles' own without it.
        more: Properties of the whole picture, boxes in the order in which they are applied.
    """
    tile, rows = tiles[0], len(tiles) // columns
    width, height = size or (tile.width * columns, tile.height * rows)
    is_grid = len(tiles) > 1
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height) if is_grid else b""
    items = [(b"hvc1", each.data) for each in tiles] + ([(b"grid", grid)] if is_grid else [])
    primary = len(items)
    extra = _split(more)
    sizes = [full_box(b"ispe", struct.pack(">II", tile.width, tile.height))]
    sizes += [full_box(b"ispe", struct.pack(">II", width, height))] if is_grid else []
    properties = [box(b"hvcC", tile.config), *sizes, *extra]
    own = ([3] if is_grid else [1, 2]) + [len(properties) - len(extra) + 1 + i for i in range(len(extra))]
    ipma = b"".join(
        struct.pack(">HB", i, len(those)) + bytes(those)
        for i in range(1, primary + 1)
        for those in [own if i == primary else [1, 2]]
    )
    infes = [
        full_box(b"infe", struct.pack(">HH4sB", i, 0, items[i - 1][0], 0), version=2) for i in range(1, primary + 1)
    ]
    reference = box(b"dimg", struct.pack(f">HH{len(tiles)}H", primary, len(tiles), *range(1, len(tiles) + 1)))

    def meta(first: int) -> bytes:
        places, at = b"", first
        for number, (_, data) in enumerate(items, 1):
            places += struct.pack(">HHHII", number, 0, 1, at, len(data))
            at += len(data)
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", struct.pack(">H", primary)),
            full_box(b"iloc", b"\x44\0", struct.pack(">H", len(items)), places),
            full_box(b"iinf", struct.pack(">H", len(items)), *infes),
            full_box(b"iref", reference) if is_grid else b"",
            box(b"iprp", box(b"ipco", *properties), full_box(b"ipma", struct.pack(">I", primary), ipma)),
        )

    ftyp = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    first = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(first) + box(b"mdat", *(data for _, data in items))


def _split(properties: bytes) -> list[bytes]:
    found = []
    while properties:
        (size,) = struct.unpack_from(">I", properties)
        found.append(properties[:size])
        properties = properties[size:]
    return found
