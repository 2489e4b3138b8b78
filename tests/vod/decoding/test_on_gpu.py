"""Decoding on a GPU: on frames of NVDEC's layout in the host's memory here, and with NVDEC where there is a GPU."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from exporters.catalogue.packages import demo_video
from reeltag.frames import View
from tests.vod.fake import FakeTagger
from vod.decoding import nvdec
from vod.decoding.blocks import SHOT_FRAME, End, FrameBlock, RingLayout, Scan, ShotWindow, SlotKind, array_at
from vod.decoding.decoders import Decoder
from vod.decoding.geometry import UPRIGHT, Orientation, Shape
from vod.decoding.reader import VideoReader
from vod.decoding.sampling import Sample
from vod.decoding.scaling import Scaler
from vod.inference.ring import RingInference

torch = pytest.importorskip("torch")

VIEWS = tuple(map(View.parse, ("LETTERBOX_416X416_PAD114", "CENTER_CROP_224X224_PAD0")))
LAYOUT = RingLayout(VIEWS)
MEAN_LEVELS, MOST_LEVELS = 2.0, 6
"""Differences from swscale, of 255, on frames in memory."""


def devices() -> list[Any]:
    is_wanted = torch.cuda.is_available() or os.environ.get("FAIL_WITHOUT_GPU") == "1"
    marks = () if is_wanted else (pytest.mark.skip(reason="no GPU is here"),)
    return [pytest.param("cpu"), pytest.param("cuda:0", marks=marks)]


@pytest.fixture(params=devices())
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def bikes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo_video(tmp_path_factory.mktemp("bikes"))


def nv12(width: int, height: int, colorspace: int = 2, color_range: int = 1) -> av.VideoFrame:
    small = np.random.default_rng(5).integers(0, 255, (9, 16, 3), dtype=np.uint8)
    pixels = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="nv12")
    frame.colorspace, frame.color_range = colorspace, color_range
    return frame


@pytest.mark.parametrize(
    ("size", "colorspace", "color_range"),
    [
        ((1280, 720), 2, 1),
        ((1280, 720), 9, 1),
        ((640, 272), 1, 1),
        ((720, 1280), 5, 2),
        ((330, 240), 1, 2),
        ((330, 240), 2, 1),
    ],
)
@pytest.mark.parametrize("view", [*VIEWS, SHOT_FRAME, View.parse("LETTERBOX_TOP_LEFT_333X333_PAD1_2_3")])
def test_scaling_and_colours_are_swscales(view: View, size: tuple[int, int], colorspace: int, color_range: int) -> None:
    from vod.decoding.cuda import DeviceScaler

    frame, shape = nv12(*size, colorspace, color_range), Shape(*size, 1, UPRIGHT)  # type: ignore[arg-type]
    mine, theirs = DeviceScaler(view, size, "cpu"), Scaler(view, size)
    if view is SHOT_FRAME:
        pair = mine.small(frame, shape), theirs.small(frame, shape)
    else:
        pair = _filled(mine, view, frame, shape), _filled(theirs, view, frame, shape)
    difference = np.abs(pair[0].astype(int) - pair[1])
    assert difference.mean() <= MEAN_LEVELS
    assert difference.max() <= MOST_LEVELS


@pytest.mark.parametrize("bits", range(8))
def test_orientations_and_other_shapes_are_those_of_the_cpu(bits: int) -> None:
    from vod.decoding.cuda import DeviceScaler

    orientation = Orientation(bool(bits & 1), bool(bits & 2), bool(bits & 4))
    shape = Shape(640, 272, 1, orientation)  # type: ignore[arg-type]
    for size in (shape.displayed, (500, 400)):
        mine, theirs = DeviceScaler(VIEWS[0], size, "cpu"), Scaler(VIEWS[0], size)
        frame = nv12(640, 272)
        pair = [_filled(each, VIEWS[0], frame, shape).astype(int) for each in (mine, theirs)]
        assert np.abs(pair[0] - pair[1]).mean() <= MEAN_LEVELS


def _filled(scaler: Scaler, view: View, frame: av.VideoFrame, shape: Shape) -> npt.NDArray[np.uint8]:
    out = np.empty((view.height, view.width, 3), np.uint8)
    scaler.fit(frame, shape, out)
    return out


Reports = tuple[list[tuple[float, ...]], list[tuple[float, ...]], End, list[npt.NDArray[np.uint8]]]


async def reports(path: Path, device: str | None, sample: Sample = Sample.FPS) -> tuple[Reports, VideoReader]:
    """Times of blocks and windows, the end, and the pixels of all blocks and windows."""
    blocks, windows, pixels = [], [], []
    async with VideoReader(path, LAYOUT, keyframes_only=sample is Sample.KEYFRAMES, device=device) as reader:
        await reader.probe()
        async for report in reader.reports(Scan(sample, 2.0)):
            if isinstance(report, FrameBlock):
                blocks.append(report.times)
                for view in VIEWS:
                    shape = LAYOUT.view_shape(view, len(report.times))
                    pixels.append(array_at(reader.buffer, LAYOUT.view_offset(report.slot, view), shape).copy())
                reader.release(SlotKind.BLOCK, report.slot)
            elif isinstance(report, ShotWindow):
                windows.append(report.times)
                at = LAYOUT.window_offset(report.slot)
                pixels.append(array_at(reader.buffer, at, LAYOUT.window_shape).copy())
                reader.release(SlotKind.WINDOW, report.slot)
            elif isinstance(report, End):
                return (blocks, windows, report, pixels), reader
    raise AssertionError("no end")


def differences(mine: Sequence[npt.NDArray[np.uint8]], theirs: Sequence[npt.NDArray[np.uint8]]) -> float:
    return max(float(np.abs(a.astype(int) - b).mean()) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("sample", [Sample.FPS, Sample.KEYFRAMES])
def test_times_gaps_and_pixels_are_those_of_the_cpu(bikes: Path, device: str, sample: Sample) -> None:
    on_cpu, _ = asyncio.run(reports(bikes, None, sample))
    on_device, reader = asyncio.run(reports(bikes, device, sample))
    assert reader.why_not_on_gpu == ""
    assert reader.on_gpu is not None
    assert on_device[:3] == on_cpu[:3]
    assert differences(on_device[3], on_cpu[3]) <= MEAN_LEVELS


class GpuTagger(FakeTagger):
    """A server that sees the same GPU: its memory is read from the host's ring, which is laid out alike."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._cards["detect_frames"] = self._cards["detect_frames"].model_copy(update={"view": view.name})
        self.asked: list[str] = []

    async def register_gpu_memory(self, region: str, handle: bytes, number: int, byte_size: int) -> None:
        assert (len(handle), number, byte_size) == (64, 0, LAYOUT.block_slots * LAYOUT.block_bytes)
        self.regions[region] = f"/{region.removesuffix('_gpu')}"

    async def unregister_gpu_memory(self, region: str) -> None:
        self.regions.pop(region, None)

    async def infer_frames(self, card: Any, frames: Any, *, class_maps: bool = False) -> list[dict[str, Any]]:
        self.asked.append(frames.region)
        return await super().infer_frames(card, frames, class_maps=class_maps)

    async def infer_cuts(self, card: Any, window: Any) -> Any:
        self.asked.append(window.region)
        return await super().infer_cuts(card, window)


def test_triton_reads_blocks_in_the_gpus_memory_and_windows_in_the_hosts(bikes: Path, device: str) -> None:
    async def run() -> None:
        client = GpuTagger(VIEWS[0])
        detector, shots = client._cards["detect_frames"], client._cards["shots"]
        async with VideoReader(bikes, LAYOUT, device=device) as reader:
            await reader.probe()
            async with RingInference(client, reader) as inference:
                assert len(await inference.frames(detector, 0, 8)) == 8
                await inference.cuts(shots, 0)
            assert client.asked == [f"{reader.region}_gpu", reader.region]
            assert client.regions == {}

    asyncio.run(run())


def test_without_a_gpu_in_the_server_it_reads_all_in_the_hosts_memory(bikes: Path, device: str) -> None:
    async def run() -> None:
        client = FakeTagger()
        async with VideoReader(bikes, LAYOUT, device=device) as reader:
            await reader.probe()
            async with RingInference(client, reader) as inference:
                assert (inference.is_on_gpu, inference.is_shared) == (False, True)
                await inference.cuts(client._cards["shots"], 0)

    asyncio.run(run())


def test_what_a_gpu_cannot_do_is_decoded_by_the_cpu_and_named(tmp_path: Path, device: str) -> None:
    video = tmp_path / "odd.mp4"
    matrix_video(video, 321, 241)
    mine, reader = asyncio.run(reports(video, device))
    theirs, _ = asyncio.run(reports(video, None))
    assert "not even" in reader.why_not_on_gpu or "NVDEC" in reader.why_not_on_gpu
    assert reader.on_gpu is None
    assert mine[:3] == theirs[:3]
    assert differences(mine[3], theirs[3]) == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_has_gone_leaves_the_video_to_the_cpu(bikes: Path) -> None:
    (blocks, _, end, _), reader = asyncio.run(reports(bikes, "cuda:0", Sample.KEYFRAMES))
    assert reader.why_not_on_gpu
    assert end == asyncio.run(reports(bikes, None, Sample.KEYFRAMES))[0][2]
    assert blocks


def matrix_video(path: Path, width: int, height: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for _ in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 90, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_the_trial_tells_a_decoder_that_works(tmp_path: Path, device: str) -> None:
    nvdec.write_trial(tmp_path / "trial.mp4")
    frames, difference = nvdec.compared(tmp_path / "trial.mp4", device)
    assert frames == 48
    assert difference <= 2


def test_nothing_of_a_gpu_is_imported_where_none_decodes(model_repository: Path) -> None:
    folder = model_repository / "decode" / "1"
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); import pool, vod.decoding.reader, vod.decoding.nvdec;"
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'nvidia')])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_without_a_gpu_auto_is_the_cpu_and_gpu_is_an_error_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    nvdec.problem.cache_clear()
    try:
        assert asyncio.run(nvdec.device_of(Decoder.AUTO)) is None
        assert asyncio.run(nvdec.device_of(Decoder.CPU)) is None
        with pytest.raises(Exception, match=r"cannot be decoded on a GPU here: .+; leave --decoder out"):
            asyncio.run(nvdec.device_of(Decoder.GPU))
    finally:
        nvdec.problem.cache_clear()
