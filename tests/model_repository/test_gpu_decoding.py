"""Decoding on a GPU: nvImageCodec and PyTorch on the CPU here, and on a GPU where there is one."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from reeltag.frames import Fit, Jpeg, Pixels, Resampler, View, decode_views, decoding_bytes, fit_pixels, read
from tests.model_repository.test_decoding_pool import processes
from tests.reeltag.test_formats import FILES

NAMES = ["LETTERBOX_416X416_PAD114", "LETTERBOX_TOP_LEFT_640X640_PAD124_116_104", "CENTER_CROP_224X224_PAD0"]
VIEWS = [View.parse(name) for name in NAMES]
SHAPES = [(view.height, view.width, 3) for view in VIEWS]

MEAN_TOLERANCE = 2.0
"""Of 255: the CPU decodes a JPEG at a reduced scale, the GPU whole, and both round."""


def devices() -> list[Any]:
    """The CPU stands in for a GPU; where there is one it is asked, too."""
    is_wanted = torch.cuda.is_available() or os.environ.get("FAIL_WITHOUT_GPU") == "1"
    marks = () if is_wanted else (pytest.mark.skip(reason="no GPU is here"),)
    return [pytest.param("cpu"), pytest.param("cuda:0", marks=marks)]


@pytest.fixture(scope="module", params=devices())
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(scope="module")
def backend(model_repository: Path) -> Iterator[ModuleType]:
    """`gpu.py` in the folder that Triton serves."""
    folder = str(model_repository / "decode" / "1")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("gpu")
    finally:
        sys.path.remove(folder)


@pytest.fixture(scope="module")
def decoder(backend: ModuleType, device: torch.device) -> Iterator[Any]:
    frames, pool = importlib.import_module("frames"), importlib.import_module("pool")
    made = backend.GpuDecoder([frames.View.parse(name) for name in NAMES], pool.Pool(NAMES, SHAPES, workers=2), device)
    with contextlib.closing(made):
        yield made
    assert processes() == []


class Asked:
    """Pictures that were handed in together, and what became of them."""

    def __init__(self, decoder: Any, files: Sequence[bytes], *, until: float = np.inf) -> None:
        picture_type = importlib.import_module("pool").Picture
        views = range(len(VIEWS))
        self.outs = [[decoder.empty(SHAPES[view]).fill_(77) for view in views] for _ in files]
        self.results: list[Any] = [None] * len(files)
        self.threads = set[str]()
        self._left = threading.Semaphore(0)
        decoder.submit([picture_type(f, views, self.outs[i], self._done(i), until=until) for i, f in enumerate(files)])
        for _ in files:
            assert self._left.acquire(timeout=60)

    def _done(self, index: int) -> Callable[[Any], None]:
        def done(result: Any) -> None:
            assert self.results[index] is None, "a picture is done once"
            self.results[index] = result
            self.threads.add(threading.current_thread().name)
            self._left.release()

        return done

    def pixels(self, index: int) -> list[Pixels]:
        return [out.cpu().numpy() for out in self.outs[index]]


def photograph(width: int = 1280, height: int = 720, seed: int = 3) -> Pixels:
    """Smooth shapes with some texture."""
    noise = np.random.default_rng(seed).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    fine = np.random.default_rng(seed).normal(0, 2, (height, width, 1))
    return np.clip(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) + fine, 0, 255).astype(np.uint8)


def jpeg(width: int = 1280, height: int = 720, **options: Any) -> bytes:
    return bytes(simplejpeg.encode_jpeg(photograph(width, height), quality=92, **options))


def on_cpu(file: bytes) -> tuple[list[Pixels], list[Any]]:
    outs = [np.empty(shape, np.uint8) for shape in SHAPES]
    return outs, [geometry.to_array() for geometry in decode_views(file, VIEWS, outs)]


def pillow(pixels: Pixels, mode: str = "RGB", **options: Any) -> bytes:
    target = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(target, "JPEG", **options)
    return target.getvalue()


@pytest.mark.parametrize("size", [(1280, 720), (640, 480), (333, 517), (300, 200), (1281, 723), (2000, 901)])
def test_the_pixels_and_the_geometry_are_those_of_the_cpu(decoder: Any, size: tuple[int, int]) -> None:
    asked = Asked(decoder, [jpeg(*size), jpeg(*size, colorsubsampling="444")])
    for i, file in enumerate([jpeg(*size), jpeg(*size, colorsubsampling="444")]):
        pixels, geometry = on_cpu(file)
        for view, mine in enumerate(asked.pixels(i)):
            np.testing.assert_array_equal(asked.results[i][view], geometry[view])
            assert np.abs(mine.astype(int) - pixels[view]).mean() <= MEAN_TOLERANCE


@pytest.mark.parametrize("size", [(1280, 720), (832, 832), (417, 333), (1300, 700), (833, 1500), (100, 60)])
@pytest.mark.parametrize("name", [*NAMES, "STRETCH_48X32_PAD0"])
def test_pixels_are_fitted_as_opencv_does_it(backend: ModuleType, name: str, size: tuple[int, int]) -> None:
    view, pixels = importlib.import_module("frames").View.parse(name), photograph(*size)
    expected = fit_pixels(View.parse(name), pixels, *size).astype(int)
    picture = importlib.import_module("pool").Picture(b"", [0], [torch.empty(view.height, view.width, 3).byte()], print)
    importlib.import_module("gpu_fitter").Fitter([view], torch.device("cpu")).fit([(torch.from_numpy(pixels), picture)])
    assert np.abs(picture.outs[0].numpy() - expected).max() <= 1


def test_half_precision_is_within_a_level() -> None:
    def half(array: Any) -> torch.Tensor:
        return torch.from_numpy(array).to(torch.float16 if array.dtype == np.float32 else None)

    planes = torch.from_numpy(photograph(640, 400)).permute(2, 0, 1)
    exact = Resampler(torch.from_numpy)(planes.float(), 300, 170)
    assert (Resampler(half)(planes.half(), 300, 170).float() - exact).abs().max() < 0.5


def test_what_the_gpu_cannot_do_takes_the_way_of_the_cpu_with_the_same_result(decoder: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "progressive": pillow(photograph(), progressive=True),
        "CMYK": pillow(photograph(), "CMYK"),
        "turned": pillow(photograph(), exif=exif),
        "RGB": pillow(photograph(), keep_rgb=True),
        **FILES,
    }
    asked = Asked(decoder, list(files.values()))
    for i, (kind, file) in enumerate(files.items()):
        pixels, geometry = on_cpu(file)
        for view, mine in enumerate(asked.pixels(i)):
            np.testing.assert_array_equal(asked.results[i][view], geometry[view], err_msg=kind)
            if kind != "jpeg":
                np.testing.assert_array_equal(mine, pixels[view], err_msg=kind)
    assert asked.threads == {"decode-gpu"}


def test_broken_pictures_fail_alone_and_for_the_same_reason(decoder: Any) -> None:
    good, whole = jpeg(), jpeg(640, 480)
    broken = [b"", b"no picture", good[:200], good[: len(good) // 2], good[:-2][:40_000], b"\xff\xd8\xff" + bytes(99)]
    broken.append(good[:30_000] + b"\xff\xc4\x00\x10" + good[30_004:])
    asked = Asked(decoder, [good, *broken, whole])
    assert not isinstance(asked.results[0], str)
    assert not isinstance(asked.results[-1], str)
    for i, file in enumerate(broken, 1):
        code, _, text = asked.results[i].partition(": ")
        with pytest.raises(ValueError, match=r".") as caught:
            on_cpu(file)
        assert (code, text) == (caught.value.code, str(caught.value))  # type: ignore[attr-defined]
        assert all((pixels == 0).all() for pixels in asked.pixels(i))


def test_a_batch_of_32_broken_jpegs(decoder: Any) -> None:
    good = jpeg()
    asked = Asked(decoder, [good[: 500 + 1000 * i] for i in range(32)])
    assert {result.partition(":")[0] for result in asked.results} == {"truncated"}
    assert not isinstance(Asked(decoder, [good]).results[0], str)


def test_pictures_beyond_the_bounds_are_for_the_cpu(
    decoder: Any, backend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.frames, "MOST_PIXELS", 640 * 480 - 1)
    file = jpeg(640, 480)
    for mine, theirs in zip(Asked(decoder, [file]).pixels(0), on_cpu(file)[0], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_chunk_holds_no_more_pixels_than_allowed(backend: ModuleType) -> None:
    sizes = [(1280, 720)] * 40 + [(4096, 4096)] * 3 + [(640, 480)]
    header = read(jpeg(64, 64)).header
    jobs = [backend._Decode(None, _of_size(header, *size)) for size in sizes]
    chunks = list(backend._chunks(jobs))
    assert [job for chunk in chunks for job in chunk] == jobs
    assert all(sum(job.pixels for job in chunk) <= backend.frames.CHUNK_PIXELS for chunk in chunks)
    assert len(chunks[0]) >= 32, "a batch is decoded at one time"


@pytest.mark.parametrize("size", [(1280, 720), (4096, 4096), (8192, 8), (8, 8192), (64, 64)])
@pytest.mark.parametrize("name", ["LETTERBOX_640X640_PAD114", "STRETCH_640X640_PAD0", "CENTER_CROP_224X224_PAD0"])
def test_no_more_is_fitted_at_one_time_than_the_bound_says(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, size: tuple[int, int]
) -> None:
    """Thin and small pictures become far larger than they were decoded."""
    view, (width, height) = backend.frames.View.parse(name), size
    fitter = importlib.import_module("gpu_fitter").Fitter([view], torch.device("cpu"))
    together: list[int] = []
    monkeypatch.setattr(fitter, "_fit_alike", lambda pictures: together.append(len(pictures)))
    pixels = torch.empty((height, width, 3), dtype=torch.uint8)
    picture = importlib.import_module("pool").Picture(b"", [0], [], print, np.inf)
    fitter.fit([(pixels, picture)] * 100)
    assert sum(together) == 100
    place = backend.frames.placement_of(view, width, height, width, height)
    steps = [height * width, place.height * width, place.height * place.width]
    several = [count * max(steps) for count in together if count > 1]
    assert all(pixels <= backend.frames.FIT_PIXELS for pixels in several)
    halves = 3 * 2 * (steps[0] + steps[1] + 2 * steps[2])  # planes, rows, columns, rounded
    taken = max(count * halves + 3 * count * steps[0] * (count > 1) for count in together)
    held = backend.frames.decoding_bytes([view], 0) - 3 * backend.frames.CHUNK_PIXELS
    assert taken <= held - 32 * 2 * 8192 * max(view.height, view.width)


def test_the_memory_of_a_batch_is_bounded() -> None:
    """As docs/gpu.md says it: chunk, fitting, weights and the answers, MiB."""
    view = View.parse("LETTERBOX_640X640_PAD114")
    assert decoding_bytes([view], 32) / (1 << 20) == 96 + 216 + 320 + 37.5
    assert decoding_bytes([view], 64) - decoding_bytes([view], 32) == 32 * 640 * 640 * 3
    page = (Path(__file__).parents[2] / "docs/gpu.md").read_text()
    assert f"at most {decoding_bytes([view], 32) >> 20} MiB" in page


def _of_size(header: Any, width: int, height: int) -> Any:
    return type(header)("JPEG", width, height, 1, 0.0, 0)


def test_late_pictures_are_not_decoded(decoder: Any) -> None:
    asked = Asked(decoder, [jpeg(), pillow(photograph(), progressive=True)], until=0.0)
    assert {result.partition(":")[0] for result in asked.results} == {"deadline_exceeded"}


def test_without_memory_the_requests_fail_and_the_next_is_answered(
    decoder: Any, backend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(decoder._fitter, "fit", full)
        results = Asked(decoder, [jpeg(), jpeg(640, 480)]).results
    assert all(isinstance(result, backend.NoRoom) for result in results)
    assert not isinstance(Asked(decoder, [jpeg()]).results[0], Exception | str)


def test_a_jpeg_that_the_hardware_engine_refuses_is_for_the_next_decoder_and_then_for_the_cpu(
    decoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuses:
        """Decodes all but the first of what it is given."""

        def __init__(self, behind: Any) -> None:
            self.behind, self.asked = behind, list[int]()

        def decode(self, files: Sequence[Any], **options: Any) -> list[Any]:
            self.asked.append(len(files))
            return [None, *self.behind.decode(files[1:], **options)] if len(files) > 1 else [None]

    last = list(decoder._codec._decoders.values())[-1]
    engine, second = Refuses(last), Refuses(last)
    files = [jpeg(640, 480, colorsubsampling=kind) for kind in ("420", "422", "444")]
    monkeypatch.setattr(decoder._codec, "_decoders", {"one": last})  # a GPU's engine decodes otherwise by a few levels
    whole = Asked(decoder, files)
    for decoders, is_on_cpu in (({"one": engine, "two": last}, False), ({"one": engine, "two": second}, True)):
        with monkeypatch.context() as patch:
            patch.setattr(decoder._codec, "_decoders", decoders)
            asked = Asked(decoder, files)
        assert not any(isinstance(result, Exception | str) for result in asked.results)
        for i in range(1, len(files)):
            assert _differ_at_most(asked.pixels(i)[0], whole.pixels(i)[0]) <= 1, "by how many are fitted together"
        first = on_cpu(files[0])[0][0] if is_on_cpu else whole.pixels(0)[0]
        assert _differ_at_most(asked.pixels(0)[0], first) <= (0 if is_on_cpu else 1)
    assert sum(second.asked) < sum(engine.asked), "the second is asked for what the first refuses alone"


def _differ_at_most(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other).max())


def test_where_the_library_fails_as_a_whole_the_cpu_decodes(decoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails:
        def decode(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("nvImageCodec failure: '#5'")

    monkeypatch.setattr(decoder._codec, "_decoders", {"one": Fails()})
    file = jpeg(640, 480)
    for mine, theirs in zip(Asked(decoder, [file]).pixels(0), on_cpu(file)[0], strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("kind", "is_plain"),
    [
        ({}, True),
        ({"colorsubsampling": "444"}, True),
        ({"colorsubsampling": "Gray", "colorspace": "GRAY"}, True),
    ],
)
def test_plain_jpegs(kind: dict[str, Any], is_plain: bool) -> None:
    pixels = photograph(64, 48)
    if kind.get("colorspace") == "GRAY":
        pixels = np.ascontiguousarray(pixels[..., :1])
    encoded = read(bytes(simplejpeg.encode_jpeg(pixels, **kind)))
    assert isinstance(encoded, Jpeg)
    assert encoded.is_plain is is_plain


def test_letterboxes_of_colours_and_every_fit_are_covered() -> None:
    assert {view.fit for view in VIEWS} | {Fit.STRETCH} == set(Fit)
