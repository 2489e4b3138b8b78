from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from tests.vod.numbered import Encoding, write_numbered
from vod.decoding.blocks import SHOT_FRAME
from vod.decoding.colour import (
    REFERENCE_WHITE,
    SOURCE_PEAK,
    Transfer,
    eetf,
    light_to_pq,
    on_white,
    pq_to_light,
    tone_mapped,
    transfer_of,
)
from vod.decoding.video import Video

BT709_TO_BT2020 = np.array(
    [[0.627404, 0.329283, 0.043313], [0.069097, 0.919540, 0.011362], [0.016391, 0.088013, 0.895595]]
)


def in_pq(display: npt.NDArray[np.float64], white: float) -> npt.NDArray[np.uint16]:
    """BT.709 display values, 0 to 1, as BT.2020 PQ of 16 bits, `white` cd/m2 bright."""
    light = np.power(display, 2.4) @ BT709_TO_BT2020.T * white
    return np.asarray(np.round(light_to_pq(light) * 65535), np.uint16)


def test_pq_at_the_standards_points() -> None:
    assert pq_to_light(np.array([0.0, 0.5081, 0.7518, 1.0])) == pytest.approx(
        [0, 100, 1000, 10_000], rel=2e-3, abs=1e-6
    )
    light = np.array([0.01, 1, 203, 4000])
    assert pq_to_light(light_to_pq(light)) == pytest.approx(light, rel=1e-9)


def test_the_curve_keeps_dark_light_and_brings_the_peak_to_white() -> None:
    assert eetf(np.array([1.0, 20.0, 50.0])) == pytest.approx([1, 20, 50], rel=1e-6)
    assert eetf(np.array([SOURCE_PEAK])) == pytest.approx([REFERENCE_WHITE])
    assert (np.diff(eetf(np.linspace(0.1, SOURCE_PEAK, 500))) > 0).all()


def test_colours_of_moderate_light_come_back() -> None:
    """What lies below the knee is what it was in BT.709, with 203 cd/m2 as white."""
    random = np.random.default_rng(0)
    display = random.uniform(0, 0.6, (40, 40, 3))
    mapped = tone_mapped(in_pq(display, REFERENCE_WHITE), Transfer.PQ)
    assert np.abs(mapped - 255 * display).max() <= 2.5


@pytest.mark.parametrize("hue", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1)])
def test_bright_colours_keep_their_hue(hue: tuple[int, int, int]) -> None:
    display = np.broadcast_to(np.array(hue, float), (4, 4, 3))
    for white in (203.0, 1000.0):
        mapped = tone_mapped(in_pq(display, white), Transfer.PQ)[0, 0]
        assert (mapped[np.array(hue) == 1] > 215).all()
        assert (mapped[np.array(hue) == 0] < 12).all()


def grey_of(value: float, transfer: Transfer) -> int:
    return int(tone_mapped(np.full((1, 1, 3), round(value * 65535), np.uint16), transfer)[0, 0, 0])


def test_hlg_white_and_grey() -> None:
    """HLG's reference white, 75 %, is 203 cd/m2 on a display of 1,000 (ITU-R BT.2408)."""
    of = [grey_of(value, Transfer.HLG) for value in (0, 0.75, 1)]
    pq = grey_of(float(light_to_pq(np.array(203.0))), Transfer.PQ)
    assert of[0] == 0
    assert abs(of[1] - pq) <= 2
    assert of[2] == 255


@pytest.mark.parametrize(("trc", "transfer"), [(16, Transfer.PQ), (18, Transfer.HLG), (1, Transfer.SDR)])
def test_a_file_states_its_transfer(tmp_path: Path, trc: int, transfer: Transfer) -> None:
    def prepare(stream: av.VideoStream) -> None:
        stream.codec_context.color_trc, stream.codec_context.color_primaries = trc, 9
        stream.codec_context.colorspace = 9

    options = {"x265-params": f"log-level=none:pools=1:transfer={trc}:colorprim=9:colormatrix=9"}
    encoding = Encoding("libx265", options, "yuv420p10le")
    video = Video(write_numbered(tmp_path / "v.mkv", range(2), encoding, prepare=prepare))
    picture = next(video.frames())
    assert transfer_of(picture.frame) is transfer
    assert video.scaler(SHOT_FRAME).small(picture.frame, picture.shape).shape == (27, 48, 3)
    video.close()


def test_alpha_is_composited_on_white() -> None:
    pixels = np.array([[[0, 200, 0, 0], [0, 200, 0, 255], [0, 200, 0, 128]]], np.uint8)
    assert on_white(pixels)[0].tolist() == [[255, 255, 255], [0, 200, 0], [127, 227, 127]]


def test_a_transparent_video_lies_on_white(tmp_path: Path) -> None:
    path = tmp_path / "v.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "argb"
        pixels = np.zeros((48, 64, 4), np.uint8)
        pixels[..., 1] = 200
        pixels[:, 32:, 3] = 255
        frame = av.VideoFrame.from_ndarray(pixels, format="rgba").reformat(format="argb")
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = Video(path)
    picture = next(video.frames())
    small = video.scaler(SHOT_FRAME).small(picture.frame, picture.shape)
    assert small[10, 5].tolist() == [255, 255, 255]
    assert small[10, 40].tolist() == pytest.approx([0, 200, 0], abs=3)
    video.close()
