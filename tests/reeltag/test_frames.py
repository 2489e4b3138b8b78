from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reeltag import frames
from reeltag.frames import Fit, ImageError, View, decode_image, decode_views, fit_pixels, geometry_of, read_header

LETTERBOX = View(Fit.LETTERBOX, 416, 416, 114)
TOP_LEFT = View(Fit.LETTERBOX_TOP_LEFT, 416, 416, 114)
CROP = View(Fit.CENTER_CROP, 224, 224)


def picture(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green, blue and white quarters, so that a turn or a channel swap is seen."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (250, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 250, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 250)
    pixels[height // 2 :, width // 2 :] = (250, 250, 250)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def quarters(pixels: frames.Pixels) -> list[tuple[int, ...]]:
    height, width = pixels.shape[:2]
    centres = [(height // 4, width // 4), (height // 4, 3 * width // 4)]
    centres += [(3 * height // 4, width // 4), (3 * height // 4, 3 * width // 4)]
    return [tuple(round(v / 250) for v in pixels[y, x]) for y, x in centres]


RED, GREEN, BLUE, WHITE = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)
UPRIGHT = [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(
    ("image_format", "mode", "options"),
    [
        ("JPEG", "RGB", {"quality": 95}),
        ("JPEG", "RGB", {"quality": 95, "progressive": True}),
        ("JPEG", "CMYK", {"quality": 95}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
    ],
)
def test_every_format_and_mode_comes_out_rgb(image_format: str, mode: str, options: dict[str, object]) -> None:
    pixels, header = decode_image(encoded(picture().convert(mode), image_format, **options))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (48, 64, 3)
    assert quarters(pixels) == UPRIGHT
    assert (header.format, header.width, header.height) == (image_format, 64, 48)


@pytest.mark.parametrize(("image_format", "mode"), [("JPEG", "L"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "1")])
def test_grey_is_repeated_into_three_channels(image_format: str, mode: str) -> None:
    pixels, _ = decode_image(encoded(Image.new(mode, (40, 30), "white"), image_format))
    assert pixels.shape == (30, 40, 3)
    assert pixels.min() > 250


def test_sixteen_bit_grey_keeps_its_range() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256).repeat(8, 0)
    pixels, _ = decode_image(encoded(Image.fromarray(ramp), "PNG"))
    np.testing.assert_allclose(pixels[0, :, 0], np.arange(256), atol=1)


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (20, 20), (10, 20, 30, 0))
    pixels, _ = decode_image(encoded(clear, "PNG"))
    assert pixels.min() == 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, image_format: str) -> None:
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture(640, 480)
    stored = stored.transpose(turned[orientation]) if orientation > 1 else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, image_format, exif=exif.tobytes(), quality=95)
    pixels, header = decode_image(data, min_width=100, min_height=60)
    assert quarters(pixels) == UPRIGHT
    assert (header.width, header.height) == (640, 480)
    assert pixels.shape[1] > pixels.shape[0]


def test_a_large_jpeg_is_decoded_at_reduced_scale_and_looks_the_same() -> None:
    data = encoded(picture(2560, 1440), "JPEG", quality=95)
    small, header = decode_image(data, min_width=416, min_height=234)
    assert (header.width, header.height) == (2560, 1440)
    assert 416 <= small.shape[1] < 900
    whole, _ = decode_image(data)
    a = fit_pixels(LETTERBOX, small, 2560, 1440)
    b = fit_pixels(LETTERBOX, whole, 2560, 1440)
    assert np.abs(a.astype(int) - b).mean() < 1.5


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (17, 9)])
def test_tiny_and_thin_pictures_are_fitted(size: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", size, "red"), "PNG")
    outs = [np.zeros((416, 416, 3), np.uint8), np.zeros((224, 224, 3), np.uint8)]
    geometry = decode_views(data, (LETTERBOX, CROP), outs)
    rows, columns = geometry[0].picture
    assert outs[0][rows, columns].min(axis=(0, 1)).tolist() == [255, 0, 0]
    assert outs[1].min(axis=(0, 1)).tolist() == [255, 0, 0]
    assert (geometry[0].source_width, geometry[0].source_height) == size


@pytest.mark.parametrize(("view", "corner"), [(LETTERBOX, (91, 0)), (TOP_LEFT, (0, 0))])
def test_a_letterbox_holds_the_picture_where_the_geometry_says(view: View, corner: tuple[int, int]) -> None:
    pixels = np.full((720, 1280, 3), 7, np.uint8)
    fitted = fit_pixels(view, pixels, 1280, 720)
    rows, columns = geometry_of(view, 1280, 720).picture
    assert (rows.start, columns.start) == corner
    assert (rows.stop - rows.start, columns.stop) == (234, 416)
    assert (fitted[rows, columns] == 7).all()
    assert (np.delete(fitted, range(rows.start, rows.stop), axis=0) == 114).all()


def code_of(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    return caught.value.code


def test_what_is_no_image() -> None:
    assert code_of(b"") == "empty"
    assert code_of(b"hello, world" * 100) == "not_an_image"
    assert code_of(encoded(picture(), "PPM")) == "not_an_image"
    assert code_of(encoded(picture(), "ICO")) == "not_an_image"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "BMP"])
def test_truncated_images_are_refused(image_format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8))
    data = encoded(noise, image_format)
    for kept in (0.3, 0.7, 0.95):
        assert code_of(data[: int(len(data) * kept)]) == "truncated"
    for kept_bytes in (4, 12, 20):
        assert code_of(data[:kept_bytes]) in ("truncated", "not_an_image")


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 4) + b"IDAT" + b"\0" * 8


@pytest.mark.parametrize("size", [(10_000, 10_000), (20_000, 20_000), (8193, 8192)])
def test_too_many_pixels_are_refused_by_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="at most 67,108,864 pixels") as caught:
        read_header(png_header(*size))
    assert caught.value.code == "too_many_pixels"


@given(st.binary(max_size=200), st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]), st.integers(0, 1000))
def test_damaged_bytes_only_ever_raise_image_errors(junk: bytes, image_format: str, place: int) -> None:
    data = bytearray(encoded(picture(), image_format))
    place = place % len(data)
    data[place : place + len(junk)] = junk
    try:
        pixels, _ = decode_image(bytes(data))
    except ImageError:
        return
    assert pixels.ndim == 3


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([LETTERBOX, TOP_LEFT, CROP]))
def test_geometry_maps_there_and_back(width: int, height: int, view: View) -> None:
    geometry = geometry_of(view, width, height)
    boxes = np.array([[0, 0, width, height], [width / 3, height / 3, width / 2, height / 2]], np.float32)
    back = geometry.boxes_to_source(geometry.boxes_to_input(boxes))
    np.testing.assert_allclose(back, boxes, atol=max(width, height) * 1e-3)
    if view is not CROP:
        left, top, right, bottom = geometry.boxes_to_input(boxes[:1])[0]
        assert max(right - left, bottom - top) == pytest.approx(416, abs=0.51)
        assert min(left, top) >= 0
        assert max(right, bottom) <= 416.01


@given(st.sampled_from(list(Fit)), st.integers(1, 9999), st.integers(1, 9999), st.integers(0, 255))
def test_view_names_parse_back(fit: Fit, height: int, width: int, pad: int) -> None:
    view = View(fit, height, width, pad)
    assert View.parse(view.name) == view


def test_a_wrong_view_name_is_refused() -> None:
    with pytest.raises(ValueError, match="LETTERBOX_416X416_PAD0"):
        View.parse("416x416")


def test_a_real_photograph(shared: Path) -> None:
    data = (shared / "data/coco128/val2017/000000000139.jpg").read_bytes()
    pixels, header = decode_image(data)
    assert (header.width, header.height) == (640, 426)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
