"""Videos as the world makes them: container x codec x what befalls them, each compared with the right value.

`python -m tests.vod.matrix docs/video-matrix.md` makes every file and writes the table; `test_matrix.py` tries some.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from reeltag.errors import VideoError
from reeltag.tags import Gap
from tests.vod.numbered import RATE, Encoding, is_smeared, number_of, write_numbered
from vod.decoding.frameindex import FrameIndex
from vod.decoding.survey import surveyed
from vod.decoding.video import Video

FRAMES: Final = 120
_HALF: Final = FRAMES // 2
_HELD: Final = 37
"""Frames that are left out in the middle, so that the one before them is held."""
_HOURS: Final = 36_000
_WRAP_SECONDS: Final = 2**33 / 90_000
"""After so long the clock of transport and program streams is at 0 again."""
_FRAME: Final = 1 / RATE


@dataclass(frozen=True)
class Way:
    """A container with a codec in it."""

    suffix: str
    codec: str
    options: tuple[tuple[str, str], ...] = ()
    open_gop: tuple[tuple[str, str], ...] = ()
    """Options beside them for open groups of pictures; none where the encoder makes none."""
    pixel_format: str = "yuv420p"
    bit_rate: int = 0
    format: str | None = None
    muxer: tuple[tuple[str, str], ...] = ()
    b_frames: bool = False
    splices: bool = False
    """Files of it can be put one behind the other."""
    clock: bool = False
    """Its clock wraps."""
    states: bool = False
    """It states its duration."""
    varies: bool = True
    """It keeps the times of frames."""

    @property
    def name(self) -> str:
        return f"{self.suffix} {self.codec}"

    def write(self, path: Path, numbers: Sequence[int] = range(FRAMES), **more: object) -> Path:
        """Write pictures in this way; `more` goes to `write_numbered`."""
        options = dict(self.options) | dict(more.pop("options", ()))  # type: ignore[call-overload]
        encoding = Encoding(self.codec, options, self.pixel_format, self.bit_rate)
        return write_numbered(path, numbers, encoding, format=self.format, muxer=dict(self.muxer), **more)  # type: ignore[arg-type]


class Seen(NamedTuple):
    """What the decoder gave of a file."""

    times: list[float]
    numbers: list[int]
    smeared: list[int]
    """Numbers of pictures that are not what they should be."""
    duration: float
    gaps: list[Gap]
    again: list[int]
    """Numbers of the pictures that were fetched a second time, by `wanted`."""
    wanted: list[int]


def look(path: Path) -> Seen:
    """Decode a file of numbered pictures, and some of its frames again."""
    video = Video(path)
    try:
        times, numbers, smeared = [], [], []
        for picture in video.frames():
            pixels = picture.frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            times.append(picture.time)
            numbers.append(number_of(pixels))
            if is_smeared(pixels):
                smeared.append(numbers[-1])
        duration = video.close_timeline()
        index = surveyed(path)
        chosen = range(3, len(times), 17)
        again = [
            number_of(picture.frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
            for picture in video.frames_at([times[i] for i in chosen], index if isinstance(index, FrameIndex) else None)
        ]
        return Seen(times, numbers, smeared, duration, video.timeline.gaps, again, [numbers[i] for i in chosen])
    finally:
        video.close()


def _wrong(seen: Seen, numbers: Sequence[int], times: Sequence[float], duration: float) -> str:
    """What differs from frames that all are there; empty where nothing does."""
    if seen.numbers != list(numbers):
        return f"{len(seen.numbers)} frames of {len(numbers)}, or others"
    if np.abs(np.subtract(seen.times, times)).max() > 0.021:
        return "other times"
    if abs(seen.duration - duration) > 0.05:
        return f"lasts {seen.duration:.2f} s, not {duration:.2f}"
    if seen.gaps:
        return f"gap at {seen.gaps[0].start_seconds:.2f} s"
    if seen.smeared:
        return "smeared pictures"
    return "" if seen.again == seen.wanted else "other frames at the second time"


def _even(count: int) -> list[float]:
    return [i * _FRAME for i in range(count)]


def _plain(way: Way, path: Path) -> str:
    return _wrong(look(way.write(path)), range(FRAMES), _even(FRAMES), FRAMES * _FRAME)


def _b_frames(way: Way, path: Path) -> str:
    options = {"bf": "3"} if way.codec != "libx265" else {}
    return _wrong(look(way.write(path, options=options)), range(FRAMES), _even(FRAMES), FRAMES * _FRAME)


def _open_gop(way: Way, path: Path) -> str:
    options = dict(way.options) | dict(way.open_gop) | ({} if way.codec == "libx265" else {"bf": "2"})
    return _wrong(look(way.write(path, options=options)), range(FRAMES), _even(FRAMES), FRAMES * _FRAME)


def _held(way: Way, path: Path) -> str:
    ticks = [i + (_HELD if i > _HALF else 0) for i in range(FRAMES)]
    times = [tick * _FRAME for tick in ticks]
    return _wrong(look(way.write(path, ticks=ticks)), range(FRAMES), times, times[-1] + _FRAME)


def _wrap(way: Way, path: Path) -> str:
    seen = look(way.write(path, offset_seconds=round(_WRAP_SECONDS) - 2))
    return _wrong(seen, range(FRAMES), _even(FRAMES), FRAMES * _FRAME)


def _joined(way: Way, path: Path, first_offset: float = 0, second_offset: float = 0) -> str:
    halves = [
        way.write(path.with_stem(f"half{i}"), range(i * _HALF, (i + 1) * _HALF), offset_seconds=offset)
        for i, offset in enumerate((first_offset, second_offset))
    ]
    path.write_bytes(b"".join(half.read_bytes() for half in halves))
    return _wrong(look(path), range(FRAMES), _even(FRAMES), FRAMES * _FRAME)


def _restart(way: Way, path: Path) -> str:
    return _joined(way, path)


def _jump(way: Way, path: Path) -> str:
    return _joined(way, path, second_offset=_HOURS) or _joined(way, path, first_offset=_HOURS)


def _partial(way: Way, seen: Seen, end: float) -> str:
    """What is wrong with frames of which some are lost; empty where every one that is missing lies in a gap."""
    if seen.smeared:
        return f"{len(seen.smeared)} smeared pictures"
    if not FRAMES // 5 < len(seen.numbers) < FRAMES:
        return f"{len(seen.numbers)} frames of {FRAMES}"
    if not all(a < b for a, b in pairwise(seen.numbers)):
        return "frames not in order"
    if way.varies and any(abs(t - n * _FRAME) > 0.021 for t, n in zip(seen.times, seen.numbers, strict=True)):
        return "other times"
    lost = set(range(round(end * RATE))) - set(seen.numbers)
    told = {n for n in lost for gap in seen.gaps if gap.start_seconds - 0.03 <= n * _FRAME <= gap.end_seconds}
    if way.varies and lost - told:
        return f"{len(lost - told)} lost frames in no gap"
    return "" if seen.again == seen.wanted else "other frames at the second time"


def _truncated(way: Way, path: Path) -> str:
    data = way.write(path).read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    try:
        seen = look(path)
    except VideoError as error:
        return "" if "without its index" in str(error) else str(error)
    end = FRAMES * _FRAME if way.states else seen.duration
    if abs(seen.duration - end) > 0.1:
        return f"lasts {seen.duration:.2f} s, not {end:.2f}"
    return _partial(way, seen, end if way.states else (seen.numbers[-1] + 1) * _FRAME)


def _noise(way: Way, path: Path) -> str:
    data = bytearray(way.write(path).read_bytes())
    start, length = len(data) // 2, max(2000, len(data) // 40)
    data[start : start + length] = np.random.default_rng(1).integers(0, 256, length, np.uint8).tobytes()
    path.write_bytes(data)
    seen = look(path)
    return _partial(way, seen, (max(seen.numbers) + 1) * _FRAME)


def _no_index(way: Way, path: Path) -> str:
    data = way.write(path).read_bytes()
    for mark, other in ((b"moov", b"free"), (b"idx1", b"JUNK"), (b"\x1c\x53\xbb\x6b", b"\x1c\x53\xbb\x6c")):
        data = data.replace(mark, other)
    path.write_bytes(data)
    try:
        return _wrong(look(path), range(FRAMES), _even(FRAMES), FRAMES * _FRAME)
    except VideoError as error:
        return "" if "without its index" in str(error) else str(error)


Trial = Callable[[Way, Path], str]
TRIALS: Final[dict[str, Trial]] = {
    "plain": _plain,
    "B-frames": _b_frames,
    "open GOP": _open_gop,
    "held": _held,
    "wrap": _wrap,
    "restart": _restart,
    "jump": _jump,
    "truncated": _truncated,
    "noise": _noise,
    "no index": _no_index,
}

_X264 = (("g", "25"), ("preset", "veryfast"), ("bf", "0"))
_X265_QUIET = "keyint=25:min-keyint=25:log-level=none:pools=1:frame-threads=1"
_X265 = (("preset", "ultrafast"), ("x265-params", f"{_X265_QUIET}:open-gop=0:bframes=0"))
_X265_B = (("x265-params", f"{_X265_QUIET}:open-gop=0:bframes=3"),)
_X265_OPEN = (("x265-params", f"{_X265_QUIET}:open-gop=1:bframes=3"),)
_X264_OPEN = (("x264-params", "open-gop=1"),)
_VPX = (("g", "25"), ("deadline", "realtime"), ("cpu-used", "8"), ("lag-in-frames", "0"))
_MPEG2_OPEN = (("bf", "2"),)

_H264 = Way("", "libx264", _X264, _X264_OPEN, b_frames=True)
_HEVC = Way("", "libx265", _X265, _X265_OPEN, b_frames=True)
_MPEG2 = Way("", "mpeg2video", (("g", "12"),), _MPEG2_OPEN, bit_rate=4_000_000, b_frames=True)
_MPEG4 = Way("", "mpeg4", (("g", "25"),), bit_rate=3_000_000, b_frames=True)
_VP8 = Way("", "libvpx", _VPX, bit_rate=2_000_000)
_VP9 = Way("", "libvpx-vp9", _VPX, bit_rate=2_000_000)
_AV1 = Way("", "libsvtav1", (("preset", "8"), ("g", "25"), ("crf", "12"), ("svtav1-params", "lp=1")))
_MJPEG = Way("", "mjpeg", pixel_format="yuvj420p", bit_rate=20_000_000)
_FFV1 = Way("", "ffv1", (("level", "3"), ("slicecrc", "1")))
_FASTSTART = (("movflags", "faststart"),)

WAYS: Final = (
    *(replace(way, suffix=".mp4", states=True, muxer=_FASTSTART) for way in (_H264, _HEVC, _MPEG4, _MPEG2, _VP9, _AV1)),
    *(replace(way, suffix=".mov", states=True) for way in (_H264, _MJPEG)),
    Way(".mov", "prores_ks", pixel_format="yuv422p10le", states=True),
    Way(".mov", "qtrle", pixel_format="rgb24", states=True),
    Way(".mov", "svq1", pixel_format="yuv410p", bit_rate=4_000_000, states=True),
    *(replace(way, suffix=".mkv", states=True) for way in (_H264, _HEVC, _MPEG4, _MPEG2, _VP8, _VP9, _AV1, _FFV1)),
    *(replace(way, suffix=".webm", states=True) for way in (_VP8, _VP9, _AV1)),
    *(replace(way, suffix=".ts", splices=True, clock=True) for way in (_H264, _HEVC, _MPEG2)),
    replace(_MPEG2, suffix=".mpg", format="vob", splices=True, clock=True),
    *(replace(way, suffix=".avi", states=True, varies=False) for way in (_H264, _MPEG4, _MJPEG, _FFV1)),
    *(replace(way, suffix=".flv", states=True) for way in (_H264, Way("", "flv", (("g", "25"),), bit_rate=3_000_000))),
    Way(".wmv", "wmv2", (("g", "25"),), bit_rate=3_000_000),
    replace(_MPEG2, suffix=".mxf", states=True, varies=False),
    replace(_H264, suffix=".h264", splices=True, varies=False),
    replace(_HEVC, suffix=".hevc", splices=True, varies=False),
    replace(_MPEG2, suffix=".m2v", format="mpeg2video", splices=True, varies=False),
)


def applies(way: Way, trial: str) -> bool:
    """Whether the encoder and the container can be tried in this way."""
    return {
        "B-frames": way.b_frames,
        "open GOP": bool(way.open_gop),
        "held": way.varies,
        "wrap": way.clock,
        "restart": way.splices,
        "jump": way.splices and way.varies,
        "no index": way.suffix in {".mp4", ".mov", ".mkv", ".webm", ".avi"},
    }.get(trial, True)


def tried(way: Way, trial: str, folder: Path) -> str:
    """Make one file and look at it: what is wrong, or nothing."""
    if trial == "B-frames" and way.codec == "libx265":
        way = replace(way, options=way.options + _X265_B)
    try:
        return TRIALS[trial](way, folder / f"video{way.suffix}")
    except VideoError as error:
        return f"refused: {error}"


def table() -> str:
    """Markdown: one row a way, one column a trial."""
    rows = [f"| | {' | '.join(TRIALS)} |", "|---" * (len(TRIALS) + 1) + "|"]
    for way in WAYS:
        cells = []
        for trial in TRIALS:
            with tempfile.TemporaryDirectory() as folder:
                cells.append((tried(way, trial, Path(folder)) or "right") if applies(way, trial) else "-")
        rows.append(f"| {way.name} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="page whose table is exchanged: what stands behind its last heading")
    page: Path = parser.parse_args().page
    head = page.read_text().partition("| |")[0]
    page.write_text(f"{head}{table()}\n")
