"""What each format can hold, against Pillow's own conversion of the whole picture or a decoder of a few lines."""

from __future__ import annotations

import io

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.hostile_files import WEBP_PICTURE, bmp, riff_chunk, webp
from reeltag.frames import ImageError, Pixels, decode_image, read_header
from tests.reeltag.test_frames import code_of, encoded


def noise(mode: str, width: int = 301, height: int = 203, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (height // 7, width // 7, 4), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def by_pillow(data: bytes) -> Pixels:
    """The whole picture at once; of an animation the first."""
    with Image.open(io.BytesIO(data)) as image:
        whole: Image.Image = image
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            rgba = image.convert("RGBA")
            whole = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return np.asarray(whole.convert("RGB"))


FILES: dict[str, bytes] = {
    "PNG of several bands, with alpha": encoded(noise("RGBA", 1900, 1300), "PNG", compress_level=1),
    "PNG with a palette and alpha": encoded(noise("RGB").quantize(16), "PNG", transparency=bytes(range(0, 240, 15))),
    "PNG with a palette and one clear colour": encoded(noise("RGB").quantize(16), "PNG", transparency=3),
    "PNG whose black is clear": encoded(noise("1"), "PNG", transparency=0),
    "PNG with grey and alpha": encoded(noise("LA"), "PNG"),
    "PNG, 2 bits": encoded(noise("RGB").quantize(4), "PNG", bits=2),
    "PNG with a profile": encoded(noise("RGB"), "PNG", icc_profile=b"x" * 999),
    "PNG, animated": encoded(noise("RGBA"), "PNG", save_all=True, append_images=[noise("RGBA", seed=1)]),
    "PNG, animated behind a still": encoded(
        noise("RGB"), "PNG", save_all=True, append_images=[noise("RGB", seed=1)], default_image=True
    ),
    "JPEG in CMYK": encoded(noise("CMYK"), "JPEG"),
    "JPEG in CMYK, progressive, with metadata": encoded(
        noise("CMYK"), "JPEG", progressive=True, icc_profile=b"x" * 70_000, comment=b"x", restart_marker_blocks=5
    ),
    "WebP, lossy with alpha": encoded(noise("RGBA"), "WEBP", quality=60),
    "WebP, several bands": encoded(noise("RGBA", 1900, 1300), "WEBP", quality=60, method=0),
    "WebP, animated": encoded(noise("RGBA"), "WEBP", save_all=True, append_images=[noise("RGBA", seed=1)]),
    "BMP with a palette": encoded(noise("P"), "BMP"),
    "BMP with alpha": encoded(noise("RGBA"), "BMP"),
    "BMP, one bit": encoded(noise("1"), "BMP"),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(name: str) -> None:
    pixels, _ = decode_image(FILES[name])
    np.testing.assert_array_equal(pixels, by_pillow(FILES[name]))


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_a_channel_lose_the_lower_eight(channels: int) -> None:
    deep = np.random.default_rng(1).integers(0, 1 << 16, (40, 50, channels)).astype(np.uint16)
    deep[:, :, 3:] = 0xFFFF
    pixels, _ = decode_image(cv2.imencode(".png", deep)[1].tobytes())
    np.testing.assert_array_equal(pixels, (deep[:, :, 2::-1] >> 8).astype(np.uint8))


@pytest.mark.parametrize(("flags", "around"), [(0x02, 0), (0x12, 255)])
def test_the_first_picture_of_an_animation_lies_on_its_canvas(flags: int, around: int) -> None:
    place = bytes([4, 0, 0, 2, 0, 0]) + bytes([15, 0, 0, 15, 0, 0, 0, 0, 0, 0])
    data = webp(40, flags=flags, picture=riff_chunk(b"ANIM", bytes(6)) + riff_chunk(b"ANMF", place + WEBP_PICTURE) * 2)
    pixels, header = decode_image(data)
    assert (header.width, header.height) == (40, 40)
    np.testing.assert_array_equal(pixels, by_pillow(data))
    inside = pixels[4:20, 8:24]
    assert (inside == (10, 200, 30)).all()
    assert (pixels[0] == around).all()


def test_a_broken_byte_in_a_pngs_rows_is_not_overlooked() -> None:
    data = bytearray(encoded(noise("RGB"), "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert code_of(bytes(data)) == "truncated"


Codes = list[tuple[str, int, int]]
"""Runs: what, its length, and a colour."""


@st.composite
def rows(draw: st.DrawFn) -> tuple[int, list[Codes]]:
    """A width, and runs that fill each row of it."""
    width = draw(st.integers(1, 70))
    lines = []
    for _ in range(draw(st.integers(1, 8))):
        left, codes = width, []
        while left:
            length = draw(st.integers(1, min(left, 60)))
            codes.append((draw(st.sampled_from(["run", "plain"])), length, draw(st.integers(0, 15))))
            left -= length
        lines.append(codes)
    return width, lines


def coded(lines: list[Codes], bits: int) -> tuple[bytes, list[list[int]]]:
    """Run-length code, and the colours that it stands for."""
    code, colours = b"", []
    for line in lines:
        row: list[int] = []
        for kind, length, colour in line:
            other = (colour * 7 + 3) % 16
            if bits == 8:
                values = (
                    [colour] * length if kind == "run" or length < 3 else [(colour + i) % 256 for i in range(length)]
                )
                packed = bytes(values)
                run = bytes([length, colour])
            else:
                pair = [colour, colour if kind == "run" or length < 3 else other]
                values = [pair[i % 2] for i in range(length)]
                padded = [*values, 0]
                packed = bytes(padded[i] << 4 | padded[i + 1] for i in range(0, length, 2))
                run = bytes([length, pair[0] << 4 | pair[1]])
            is_plain = kind == "plain" and length >= 3
            code += bytes([0, length]) + packed + b"\0" * (len(packed) % 2) if is_plain else run
            row += values
        code += b"\0\0"
        colours.append(row)
    return code + b"\0\1", colours


def palette_of(colours: npt.NDArray[np.int_]) -> Pixels:
    """As `hostile_files.bmp` writes it, blue first in the file."""
    pixels: Pixels = np.stack([255 - colours, colours // 2, colours], axis=-1).astype(np.uint8)
    return pixels


@settings(max_examples=80, deadline=None)
@given(rows(), st.sampled_from([(8, 1), (4, 2)]))
def test_run_length_code_is_decoded(drawn: tuple[int, list[Codes]], kind: tuple[int, int]) -> None:
    width, lines = drawn
    bits, compression = kind
    code, colours = coded(lines, bits)
    pixels, header = decode_image(bmp(width, len(lines), code, compression=compression, bits=bits))
    assert (header.width, header.height) == (width, len(lines))
    np.testing.assert_array_equal(pixels, palette_of(np.array(colours[::-1])))


def test_what_run_length_code_jumps_over_has_the_first_colour() -> None:
    code = bytes([3, 5, 0, 2, 2, 1, 2, 7, 0, 0, 8, 9, 0, 1])
    colours = np.zeros((4, 8), int)
    colours[3, :3], colours[2, 5:7], colours[1] = 5, 7, 9
    pixels, _ = decode_image(bmp(8, 4, code))
    np.testing.assert_array_equal(pixels, palette_of(colours))


def test_run_length_code_that_ends_early_is_refused() -> None:
    code, _ = coded([[("run", 20, 3)]] * 20, 8)
    whole = bmp(20, 20, code)
    assert decode_image(whole)[0].shape == (20, 20, 3)
    assert code_of(whole[:-20]) == "truncated"
    assert code_of(bmp(20, 20, code, compression=2, bits=8)) == "truncated"


def test_a_file_that_states_two_sizes_is_refused() -> None:
    data = encoded(noise("CMYK"), "JPEG")
    frame = data.index(b"\xff\xc0")
    length = 2 + int.from_bytes(data[frame + 2 : frame + 4], "big")
    twice = (
        data[: frame + length] + data[frame : frame + length].replace(b"\0\xcb", b"\0\xff", 1) + data[frame + length :]
    )
    assert read_header(twice).height == 203
    with pytest.raises(ImageError) as caught:
        decode_image(twice)
    assert caught.value.code == "truncated"
