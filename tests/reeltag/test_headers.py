"""Headers are read by what they say, and nothing in a file makes that long or large."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from benchmarks.hostile_files import (
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
from reeltag.frames import ImageError, ImageHeader, read_header
from reeltag.frames.header import MAX_CHUNKS, MAX_DECODE_SECONDS
from reeltag.frames.jpeg import MAX_SCANS, MAX_SEGMENTS
from reeltag.frames.orientation import MAX_EXIF_ENTRIES
from tests.reeltag.test_frames import encoded, picture

MEBIBYTE = 1 << 20


def orientation_of(data: bytes) -> int:
    return read_header(data).orientation


def tiff(entries: list[tuple[int, int, int, int]], order: str = "<") -> bytes:
    """A TIFF block of entries (tag, type, count, value of at most two bytes)."""
    pad = 0
    rows = [struct.pack(f"{order}HHLHH", tag, kind, count, value, pad) for tag, kind, count, value in entries]
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HLH", 42, 8, len(entries))
    return head + b"".join(rows) + bytes(4)


def with_exif(block: bytes, image_format: str) -> bytes:
    return encoded(picture(), image_format, exif=b"Exif\0\0" + block)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_stands_anywhere_in_the_first_directory(image_format: str, order: str) -> None:
    before = [(tag, 3, 1, 7) for tag in range(MAX_EXIF_ENTRIES - 1)]
    assert orientation_of(with_exif(tiff([*before, (0x0112, 3, 1, 6)], order), image_format)) == 6
    assert orientation_of(with_exif(tiff([(0x010F, 2, 4000, 9), (0x0112, 3, 1, 8)], order), image_format)) == 8
    assert orientation_of(with_exif(tiff([(0x0112, 3, 1, 9)], order), image_format)) == 1


def test_a_directory_that_does_not_ascend_is_not_read_to_its_end() -> None:
    before = [(0x9000, 3, 1, 7)] * MAX_EXIF_ENTRIES
    assert orientation_of(with_exif(tiff([*before, (0x0112, 3, 1, 6)]), "JPEG")) == 1


@pytest.mark.parametrize("text", ['<a tiff:Orientation="6"/>', "<tiff:Orientation>6</tiff:Orientation>"])
def test_orientation_of_xmp_counts_where_exif_has_none(text: str) -> None:
    for image_format in ("JPEG", "WEBP"):
        assert orientation_of(encoded(picture(), image_format, xmp=text.encode())) == 6
        both = encoded(picture(), image_format, xmp=text.encode(), exif=b"Exif\0\0" + tiff([(0x0112, 3, 1, 3)]))
        assert orientation_of(both) == 3
    for compressed in (False, True):
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", text, zip=compressed)
        assert orientation_of(encoded(picture(), "PNG", pnginfo=info)) == 6


@pytest.mark.parametrize("compressed", [False, True])
def test_orientation_of_a_text_chunk_as_imagemagick_writes_it(compressed: bool) -> None:
    digits = (b"Exif\0\0" + tiff([(0x0112, 3, 1, 5)])).hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(digits) // 2:8d}\n{lines}\n", zip=compressed)
    assert orientation_of(encoded(picture(), "PNG", pnginfo=info)) == 5


def test_orientation_behind_the_pixels_of_a_png_counts() -> None:
    assert orientation_of(png(8, after=png_chunk(b"eXIf", tiff([(0x0112, 3, 1, 8)])))) == 8


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_the_beginning_of_a_file_is_enough(image_format: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    data = encoded(Image.fromarray(pixels), image_format)
    whole, begun = read_header(data), read_header(data[:1000])
    assert (begun.width, begun.height, begun.format) == (400, 300, image_format)
    assert whole.seconds >= begun.seconds


def test_phones_photographs_and_screenshots_are_ordinary_and_posters_are_large() -> None:
    """As large files of the kind are in bytes, too."""
    assert not sized(encoded(picture(), "JPEG"), 4000, 3000, 3_500_000).is_large
    assert not sized(encoded(picture(), "JPEG", progressive=True), 1920, 1080, 700_000).is_large
    assert not sized(encoded(picture(), "PNG"), 1920, 1080, 1_000_000).is_large
    assert sized(encoded(picture(), "JPEG"), 9000, 7000, 30_000_000).is_large
    assert sized(encoded(picture(), "PNG"), 5000, 4000, 1_000_000).is_large
    assert sized(encoded(picture(), "PNG"), 8192, 8192, 1_000_000).memory > 400 * MEBIBYTE


def sized(data: bytes, width: int, height: int, size: int) -> ImageHeader:
    """The header of the file, were it of another size."""
    order = ">HH" if data[0] == 0xFF else ">II"
    here, there = ((48, 64), (height, width)) if data[0] == 0xFF else ((64, 48), (width, height))
    changed = data.replace(struct.pack(order, *here), struct.pack(order, *there), 1)
    return read_header(changed + bytes(size - len(changed)))


_ALL, _ONE = bytes([3, 1, 0, 2, 0, 3, 0, 0, 0, 0]), bytes([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])

REFUSED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "3,000 scans": (lambda: jpeg(scans=3000), "too_costly", "scans of 8192x8192"),
    "3,000 scans that change nothing": (lambda: jpeg(scans=3000, refining=False), "too_costly", "scans"),
    "scans of a small picture": (lambda: jpeg(64, scans=MAX_SCANS), "too_costly", f"at most {MAX_SCANS}"),
    "scans of a sequential frame, one component each": (
        lambda: jpeg(4096, scans=3000, marker=0xC1).replace(_ALL, _ONE, 1),
        "too_costly",
        "scans",
    ),
    "arithmetic coding": (lambda: jpeg(scans=10, marker=0xCA), "too_costly", "scans"),
    "segments": (lambda: jpeg(64, before=app(b"") * MAX_SEGMENTS), "too_costly", "segments before"),
    "comments between scans": (
        lambda: jpeg(64, scans=1, between=app(b"", 0xFE) * MAX_SEGMENTS),
        "too_costly",
        "segments after",
    ),
    "padding": (lambda: b"\xff\xd8" + b"\xff" * MEBIBYTE + jpeg(64)[2:], "too_costly", "between two markers"),
    "padding between scans": (lambda: jpeg(64, scans=1, between=b"\xff" * MEBIBYTE), "too_costly", "markers"),
    "PNG chunks": (lambda: png(64, before=png_chunk(b"tEXt") * MAX_CHUNKS), "too_costly", "chunks"),
    "PNG chunks behind": (lambda: png(64, after=png_chunk(b"tEXt") * MAX_CHUNKS), "too_costly", "chunks"),
    "rows without pixels": (lambda: png(64, before=png_chunk(b"IDAT") * MAX_CHUNKS), "too_costly", "chunks"),
    "WebP chunks": (
        lambda: webp(picture=WEBP_PICTURE, chunks=riff_chunk(b"XXXX") * MAX_CHUNKS),
        "too_costly",
        "chunks",
    ),
    "64 Kibi x 64 Kibi": (
        lambda: jpeg(64).replace(b"\0\x40\0\x40", b"\xff\xff\xff\xff", 1),
        "too_many_pixels",
        "65535",
    ),
    "a canvas": (lambda: webp(16_384, flags=2), "too_many_pixels", "16384x16384"),
    "a bitmap": (lambda: bmp(1 << 30, 1 << 30, b"\0\1"), "too_many_pixels", "1073741824"),
    "a WebP whose picture does not fit": (lambda: webp(32, picture=WEBP_PICTURE), "truncated", "canvas"),
}

TAKEN: dict[str, Callable[[], bytes]] = {
    "EXIF entries that overlap": lambda: jpeg(64, before=app(b"Exif\0\0" + exif(4000, 10_000, orientation=6))),
    "the same in many segments": lambda: jpeg(
        64, before=many(app(b"Exif\0\0" + exif(4000, 10_000, orientation=6)), 2 * MEBIBYTE)
    ),
    "pages that overlap": lambda: jpeg(64, before=app(b"MPF\0" + exif(4000, 10_000))),
    "a PNG's EXIF entries that overlap": lambda: png(64, before=png_chunk(b"eXIf", exif(60_000, 900_000))),
    "the same behind its pixels": lambda: png(64, after=png_chunk(b"eXIf", exif(60_000, 900_000, order=">"))),
    "the word Exif, over and over": lambda: png(64, before=png_chunk(b"eXIf", b"Exif\0\0" * 300_000)),
    "a WebP's EXIF entries that overlap": lambda: webp(
        picture=WEBP_PICTURE, chunks=riff_chunk(b"EXIF", exif(60_000, 900_000))
    ),
    "a compressed profile": lambda: png(64, before=png_chunk(b"iCCP", b"a\0\0" + bomb(64))),
    "compressed texts": lambda: png(64, before=png_chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb(64)) * 50),
    "compressed packets": lambda: png(64, before=png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb(64)) * 50),
    "bits that hold nothing": lambda: png(64, pixels=empty_blocks(MEBIBYTE, bytes(64 * 257))),
    "32 million pixels of one bit": lambda: png(depth=1, colours=0),
    "a bitmap of jumps": lambda: bmp(8192, 8192, b"\0\2\xff\xff" * 250),
    "pictures of an animation": lambda: webp(flags=2, picture=riff_chunk(b"ANMF", bytes(16) + WEBP_PICTURE) * 1000),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_costs_too_much_is_refused_by_the_header(name: str) -> None:
    make, code, text = REFUSED[name]
    with pytest.raises(ImageError, match=text) as caught:
        read_header(make())
    assert caught.value.code == code


@pytest.mark.parametrize("name", [*REFUSED, *TAKEN])
def test_reading_a_header_takes_little_memory(name: str) -> None:
    data = (TAKEN.get(name) or REFUSED[name][0])()
    tracemalloc.start()
    try:
        read_header(data)
    except ImageError:
        assert name in REFUSED
    else:
        assert name in TAKEN
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4 * MEBIBYTE, f"{peak:,} bytes for a file of {len(data):,}"


def test_overlapping_entries_do_not_hide_the_orientation() -> None:
    assert orientation_of(TAKEN["EXIF entries that overlap"]()) == 6


def test_as_many_scans_as_are_allowed_are_counted_as_what_they_cost() -> None:
    header = read_header(jpeg(64, scans=MAX_SCANS - 1))
    assert header.seconds < 0.1
    assert read_header(jpeg(2048, scans=100)).seconds > 0.5
    assert read_header(jpeg(2048, scans=100)).seconds < MAX_DECODE_SECONDS


def test_scans_are_not_hidden_by_what_a_segment_holds() -> None:
    end_of_image = app(b"\xff\xd9", 0xFE)
    with pytest.raises(ImageError, match="scans"):
        read_header(jpeg(scans=3000, between=b"").replace(b"\xff\xda", end_of_image + b"\xff\xda"))


def test_scans_in_a_thumbnail_or_behind_the_end_are_not_counted() -> None:
    plain = encoded(picture(640, 480), "JPEG", progressive=True)
    hidden = plain[:2] + app(b"\xff\xda" * 1000) + plain[2:] + b"\xff\xda" * 1000
    assert read_header(hidden).seconds == pytest.approx(read_header(plain).seconds, abs=1e-3)


FILES = [
    jpeg(16, scans=4, between=app(b"x" * 9, 0xFE)),
    jpeg(16, before=app(b"Exif\0\0" + tiff([(0x0112, 3, 1, 6), (0x0111, 4, 900, 8)]))),
    png(
        16,
        before=png_chunk(b"eXIf", tiff([(0x0112, 3, 1, 6)])),
        after=png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b")),
    ),
    webp(picture=WEBP_PICTURE, chunks=riff_chunk(b"EXIF", tiff([(0x0112, 3, 1, 6)]))),
    webp(flags=2, picture=riff_chunk(b"ANMF", bytes(16) + WEBP_PICTURE) * 3),
    bmp(16, 16, b"\x10\1\0\0" * 16 + b"\0\1"),
]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=6)), max_size=4))
def test_damaged_headers_only_ever_raise_image_errors(file: bytes, damages: list[tuple[int, bytes]]) -> None:
    data = bytearray(file)
    for place, junk in damages:
        at = place % len(data)
        data[at : at + len(junk)] = junk
    try:
        header = read_header(bytes(data))
    except ImageError:
        return
    assert 1 <= header.orientation <= 8
    assert 0 <= header.seconds <= MAX_DECODE_SECONDS


@given(st.binary(max_size=64))
def test_no_bytes_are_too_few(junk: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8X", b"RIFF\0\0\0\0WEBPVP8 ", b"BM"):
        with pytest.raises(ImageError):
            read_header(start + junk[:20])
