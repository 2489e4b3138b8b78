from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np

from reeltag.frames import Pixels
from vod.decoding.focus import FOCUS_FRAME, sharpest_of, sharpness
from vod.decoding.video import Video


def checks(blur: int) -> Pixels:
    """A chessboard, more or less out of focus: uint8 `(192, 320, 3)`."""
    rows, columns = np.mgrid[:192, :320] // 16
    pixels = ((rows + columns) % 2 * 200 + 20).astype(np.uint8)
    soft = cv2.GaussianBlur(pixels, (0, 0), blur) if blur else pixels
    return np.repeat(np.asarray(soft, np.uint8)[:, :, None], 3, axis=2)


def test_what_is_out_of_focus_is_less_sharp() -> None:
    values = [sharpness(checks(blur)) for blur in (0, 1, 3, 9)]
    assert values == sorted(values, reverse=True)
    assert sharpness(np.full((64, 64, 3), 90, np.uint8)) == 0


def test_of_each_group_the_sharpest_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    blurs = [9, 3, 0, 3, 9, 0, 3, 5, 5, 5]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10", "g": "5"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 192, "yuv420p"
        for blur in blurs:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(checks(blur), format="rgb24")))
        container.mux(stream.encode(None))
    groups = ((0.0, 0.1, 0.2, 0.4), (0.5, 0.6), (0.7,), (0.8, 0.9))
    video = Video(path)
    wanted = [time for group in groups for time in group]
    pictures = [picture for picture in video.frames_at(wanted) if picture.time != 0.7]
    chosen = [picture.time for picture in sharpest_of(groups, pictures, video.scaler(FOCUS_FRAME))]
    assert chosen[:2] == [0.2, 0.5]
    assert chosen[2] in groups[3]
    assert len(chosen) == 3
