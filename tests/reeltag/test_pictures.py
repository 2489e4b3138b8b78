"""Kinds of pictures beside JPEG, PNG, WebP and BMP, and kinds of those that were refused or shown wrongly."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reeltag.frames import ImageError, decode_image, looks_like_image, read_header
from tests.reeltag.heif import Coded, box, coded, full_box, heic
from tests.reeltag.test_formats import by_pillow, noise
from tests.reeltag.test_frames import UPRIGHT, code_of, encoded, picture, quarters

CASES = Path(__file__).parents[3] / "shared" / "cases" / "video"


def smooth(width: int = 301, height: int = 203) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns * 255 // width, rows * 255 // height, (rows + columns) % 256], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


FILES: dict[str, bytes] = {
    "GIF": encoded(noise("RGB").quantize(64), "GIF"),
    "GIF, clear": encoded(noise("RGB").quantize(16), "GIF", transparency=3),
    "GIF, animated": encoded(
        noise("RGB").quantize(64), "GIF", save_all=True, append_images=[noise("RGB", seed=1).quantize(64)], loop=0
    ),
    "GIF, interlaced, with a comment": encoded(noise("RGB").quantize(64), "GIF", interlace=1, comment=b"x" * 999),
    **{
        f"TIFF, {mode} {compression}": encoded(noise(mode), "TIFF", compression=compression)
        for mode in ("RGB", "RGBA", "CMYK", "L", "LA")
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate")
    },
    "TIFF, JPEG": encoded(noise("RGB"), "TIFF", compression="jpeg"),
    "TIFF, fax": encoded(noise("1"), "TIFF", compression="group4"),
    "TIFF, palette": encoded(noise("RGB").quantize(64), "TIFF"),
    "TIFF, big": encoded(noise("RGB"), "TIFF", big_tiff=True),
    "TIFF, pages": encoded(noise("RGB"), "TIFF", save_all=True, append_images=[noise("L", 30, 20)]),
    **{f"JPEG 2000, {mode}": encoded(noise(mode), "JPEG2000") for mode in ("L", "LA", "RGB", "RGBA")},
    "JPEG 2000, bare": encoded(noise("RGB"), "JPEG2000", no_jp2=True),
    "JPEG 2000, tiles": encoded(noise("RGB"), "JPEG2000", tile_size=(64, 64)),
    "AVIF": encoded(noise("RGB"), "AVIF"),
    "AVIF, alpha": encoded(noise("RGBA"), "AVIF"),
    "AVIF, animated": encoded(noise("RGB"), "AVIF", save_all=True, append_images=[noise("RGB", seed=1)]),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(name: str) -> None:
    pixels, header = decode_image(FILES[name])
    assert header.format == name.split(",", maxsplit=1)[0].replace(" ", "")
    assert (header.width, header.height) == (301, 203)
    np.testing.assert_array_equal(pixels, by_pillow(FILES[name]))
    assert looks_like_image(FILES[name][:32])


@pytest.mark.parametrize("name", FILES)
def test_what_is_cut_off_or_damaged_is_an_error_and_no_crash(name: str) -> None:
    data = FILES[name]
    for length in (*range(40), len(data) // 2):
        try:
            decode_image(data[:length])
        except ImageError:
            continue
        assert length == len(data) // 2  # formats whose decoders show what is there
        assert "TIFF" in name or "JPEG 2000" in name


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 600), st.integers(1, 255))
def test_no_byte_of_a_header_makes_more_than_an_error(name: str, where: int, change: int) -> None:
    data = bytearray(FILES[name])
    data[where % len(data)] ^= change
    with suppress(ImageError):
        read_header(bytes(data))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_upright_once(orientation: int) -> None:
    data = encoded(turned_back(picture(), orientation), "TIFF", tiffinfo={274: orientation})
    pixels, header = decode_image(data)
    assert (header.width, header.height) == (64, 48)
    assert quarters(pixels) == UPRIGHT


def turned_back(upright: Image.Image, orientation: int) -> Image.Image:
    """The stored picture that the orientation makes upright."""
    methods = [
        *(None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM),
        *(Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE),
        Image.Transpose.ROTATE_270,
    ]
    method = methods[orientation - 1]
    return upright if method is None else upright.transpose(method)


def test_deep_tiffs_keep_their_range_and_odd_ones_are_named() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256).repeat(8, 0)
    pixels, _ = decode_image(encoded(Image.fromarray(ramp), "TIFF"))
    assert np.abs(pixels[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    whole = cv2.imencode(".tiff", np.repeat(ramp[:, :, None], 3, axis=2))[1].tobytes()
    assert np.abs(decode_image(whole)[0][0, :, 0].astype(int) - np.arange(256)).max() <= 1
    inverted = encoded(Image.fromarray(ramp), "TIFF", tiffinfo={262: 0})
    assert np.abs(255 - decode_image(inverted)[0][0, :, 0].astype(int) - np.arange(256)).max() <= 1
    for odd, word in (
        (encoded(Image.fromarray(ramp.astype(np.float32)), "TIFF"), "floating-point"),
        (encoded(picture(), "TIFF", tiffinfo={254: 1}), "raw"),
    ):
        with pytest.raises(ImageError, match=word) as caught:
            decode_image(odd)
        assert caught.value.code == "not_an_image"


@pytest.fixture(scope="module")
def tile() -> Coded:
    return coded(np.asarray(picture(64, 48)))


def test_a_heic_is_the_whole_photograph_of_a_grid() -> None:
    whole = np.asarray(smooth(200, 120))
    padded = np.pad(whole, ((0, 8), (0, 56), (0, 0)), mode="edge")
    tiles = [coded(padded[y : y + 64, x : x + 64]) for y in (0, 64) for x in (0, 64, 128, 192)]
    pixels, header = decode_image(heic(tiles, columns=4, size=(200, 120)))
    assert (header.format, header.width, header.height) == ("HEIC", 200, 120)
    assert pixels.shape == whole.shape
    assert np.abs(pixels.astype(int) - whole).mean() < 6


@pytest.mark.parametrize("quarters_turned", range(4))
@pytest.mark.parametrize("mirror", [None, 0, 1])
def test_a_heic_is_cropped_turned_and_mirrored(tile: Coded, quarters_turned: int, mirror: int | None) -> None:
    crop = box(b"clap", struct.pack(">IIIIiIiI", 48, 1, 48, 1, 8, 1, 0, 1))
    turn = box(b"irot", bytes([quarters_turned]))
    flip = b"" if mirror is None else box(b"imir", bytes([mirror]))
    pixels, header = decode_image(heic([tile], more=crop + turn + flip))
    right = np.rot90(np.asarray(picture(64, 48))[:, 16:64], quarters_turned)
    right = right if mirror is None else (right[::-1] if mirror == 0 else right[:, ::-1])
    assert (header.width, header.height) == (right.shape[1], right.shape[0])
    assert pixels.shape == right.shape
    # The edges between the coarse colours are soft.
    assert (np.abs(pixels.astype(int) - right) < 40).mean() > 0.9


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_by_its_own_boxes(orientation: int) -> None:
    data = encoded(turned_back(picture(), orientation), "AVIF", exif=exif_of(orientation), quality=95)
    pixels, header = decode_image(data)
    assert (header.width, header.height) == (64, 48)
    assert quarters(pixels) == UPRIGHT


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


def test_other_heifs_and_jpeg_xl_are_refused_by_name(tile: Coded) -> None:
    for data, word in (
        (heic([tile]).replace(b"hvc1", b"vvc1"), "'vvc1'"),
        (box(b"ftyp", b"msf1", bytes(4)) + box(b"moov"), "no still picture"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
    ):
        assert looks_like_image(data)
        with pytest.raises(ImageError, match=word) as caught:
            read_header(data)
        assert caught.value.code == "not_an_image"


def test_a_heif_of_a_hundred_thousand_items_is_refused_at_once(tile: Coded) -> None:
    data = heic([tile])
    iinf = full_box(b"infe", struct.pack(">HH4sB", 9, 0, b"hvc1", 0), version=2) * 100_000
    start = data.index(b"iinf") - 4
    meta_size, iinf_size = (
        struct.unpack_from(">I", data, data.index(b"meta") - 4),
        struct.unpack_from(">I", data, start),
    )
    grown = bytearray(data)
    grown[start + 14 : start + 14] = iinf
    struct.pack_into(">I", grown, data.index(b"meta") - 4, meta_size[0] + len(iinf))
    struct.pack_into(">I", grown, start, iinf_size[0] + len(iinf))
    assert code_of(bytes(grown)) == "too_costly"


def test_a_video_is_no_picture() -> None:
    for data in (box(b"ftyp", b"isom", bytes(4), b"mp41"), b"\x1a\x45\xdf\xa3", b"BM" + bytes(30), b"RIFF0000AVI LIST"):
        assert not looks_like_image(data)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_marker_is_shown(mode: str, progressive: bool, missing: int) -> None:
    data = encoded(smooth().convert(mode), "JPEG", progressive=progressive)
    pixels, _ = decode_image(data[:-missing])
    np.testing.assert_array_equal(pixels, decode_image(data)[0])
    assert code_of(data[: len(data) * 2 // 3]) == "truncated"


def with_sbit(data: bytes, *bits: int) -> bytes:
    content = b"sBIT" + bytes(bits)
    return data[:33] + struct.pack(">I", len(bits)) + content + struct.pack(">I", zlib.crc32(content)) + data[33:]


def deep(bits: int, channels: int, seed: int = 0) -> npt.NDArray[np.uint16]:
    shape = (40, 50, channels) if channels > 1 else (40, 50)
    return np.random.default_rng(seed).integers(0, 1 << bits, shape).astype(np.uint16)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [5, 10, 12, 14])
def test_samples_at_the_lower_end_of_sixteen_bits_are_scaled_by_their_significant_bits(
    bits: int, channels: int
) -> None:
    values = deep(bits, channels)
    values[..., 3:] = (1 << bits) - 1
    data = cv2.imencode(".png", values)[1].tobytes()
    pixels, _ = decode_image(with_sbit(data, *[bits] * channels))
    right = np.round(values.reshape(40, 50, channels)[:, :, 2::-1] * (255 / ((1 << bits) - 1)))
    assert np.abs(pixels.astype(int) - right).max() <= 1


@pytest.mark.parametrize("largest", [4095, 200])
def test_samples_that_are_scaled_as_the_standard_has_it_are_left(largest: int) -> None:
    values = (deep(12, 3) % (largest + 1)).astype(np.uint16)
    data = cv2.imencode(".png", values << 4)[1].tobytes()
    pixels, _ = decode_image(with_sbit(data, 12, 12, 12))
    np.testing.assert_array_equal(pixels, (values[:, :, ::-1] >> 4).astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "size"), [("grid.heic", (1920, 816)), ("noeoi.jpg", (640, 272))], ids=["grid.heic", "noeoi.jpg"]
)
def test_files_that_were_tagged_wrongly(name: str, size: tuple[int, int]) -> None:
    if not (CASES / name).exists():
        pytest.skip("needs shared/cases/video")
    pixels, header = decode_image((CASES / name).read_bytes())
    assert (header.width, header.height) == size
    assert pixels.shape == (size[1], size[0], 3)
    assert pixels[size[1] // 2 :, size[0] // 2 :].std() > 10  # all of it has content, not the first tile alone


def test_the_jpeg_xl_that_crashed_is_refused_by_name() -> None:
    if not (CASES / "f.jxl").exists():
        pytest.skip("needs shared/cases/video")
    with pytest.raises(ImageError, match="JPEG XL, whose codec is not known"):
        decode_image((CASES / "f.jxl").read_bytes())


def test_a_gif_is_as_large_as_its_first_picture_needs() -> None:
    data = bytearray(encoded(noise("RGB", 60, 40).quantize(4), "GIF"))
    struct.pack_into("<HH", data, 6, 10, 10)
    header = read_header(bytes(data))
    assert (header.width, header.height) == (60, 40)
    assert decode_image(bytes(data))[0].shape == (40, 60, 3)
