"""What memory a worker needs for a long video: its peak beside that of a video of one minute.

`python -m benchmarks.long_videos` makes a video of one minute and one of `--hours`, tags each in segments in a process
of its own, as a job's worker does and with all that a worker has loaded, and prints the peak of its resident memory
and that of the largest decoding child. The server is a stand-in that answers at once with as many boxes and labels as
real networks give of a busy street: it is the worker's memory that is looked at, whoever answers.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import psutil

from benchmarks.busy_street import BusyStreet
from vod.options import TagOptions
from vod.pages.page import video_page
from vod.segments import SegmentRecord, merged, plan_video, tag_segment
from vod.stores.results import json_text
from vod.stores.thumbnails import ThumbnailStore

_RATE: Final = 25
_GOP: Final = 50
_SCENE_SECONDS: Final = 4


def write_video(path: Path, seconds: int) -> None:
    """An MP4 of 320x180 at 25 frames a second, a key frame every two seconds, another picture every four.

    One minute is encoded and then repeated packet by packet.
    """
    minute = path.with_stem(f"{path.stem}_minute")
    with av.open(str(minute), "w") as container:
        stream = container.add_stream("libx264", rate=_RATE, options={"g": str(_GOP), "preset": "veryfast", "bf": "0"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        random = np.random.default_rng(1)
        for number in range(60 * _RATE):
            if number % (_SCENE_SECONDS * _RATE) == 0:
                scene = np.kron(random.integers(0, 256, (9, 16, 3), np.uint8), np.ones((20, 20, 1), np.uint8))
            frame = av.VideoFrame.from_ndarray(np.roll(scene, number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    _repeated(minute, path, max(1, seconds // 60))
    minute.unlink()


def _repeated(minute: Path, path: Path, times: int) -> None:
    with av.open(str(path), "w") as container:
        out = None
        for turn in range(times):
            with av.open(str(minute)) as source:
                stream = source.streams.video[0]
                out = out or container.add_stream_from_template(stream)
                shift = round(turn * 60 / float(stream.time_base or Fraction(1, _RATE)))
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts += shift
                    packet.dts += shift
                    packet.stream = out
                    container.mux(packet)


async def tag(path: Path, folder: Path) -> dict[str, float]:
    """Tag a video as a job does, with every record in a file, and say what that took."""
    client, options, began = BusyStreet(), TagOptions(), time.monotonic()
    plan = await plan_video(path, options)
    bytes_ = 0
    for segment in plan.segments:
        record = await tag_segment(path, plan, segment, client, options)
        data = record.to_bytes()
        bytes_ += len(data)
        (folder / str(segment.index)).write_bytes(data)
    records = (SegmentRecord.from_bytes((folder / str(each.index)).read_bytes()) for each in plan.segments)
    with ThumbnailStore() as thumbnails:
        tagged = await merged(path, plan, records, client, options, thumbnails)
        text, page = json_text(tagged.tags), video_page(tagged, thumbnails, path.name)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds": round(time.monotonic() - began, 1),
        "segments": len(plan.segments),
        "shots": len(tagged.tags.shots),
        "worker_mib": round(own, 1),
        "child_mib": round(max(_children), 1),
        "record_mib": round(bytes_ / 2**20 / len(plan.segments), 2),
        "json_mib": round(len(text) / 2**20, 2),
        "page_mib": round(len(page) / 2**20, 2),
    }


_children: list[float] = [0.0]


def watch_children() -> None:
    """Note the memory of this process's children five times a second, MiB."""
    while True:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                _children[0] = max(_children[0], child.memory_info().rss / 2**20)
        time.sleep(0.2)


def measured(seconds: int) -> dict[str, float]:
    """Tag a video of this length in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_video(path, seconds)
        command = [sys.executable, "-m", "benchmarks.long_videos", "--tag", str(path)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    result: dict[str, float] = json.loads(found.stdout)
    return result


def main() -> None:
    """Print both, and how they compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=3.0, help="length of the long video")
    parser.add_argument("--tag", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tag:
        importlib.import_module("vod.jobs.worker")
        threading.Thread(target=watch_children, daemon=True).start()
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asyncio.run(tag(options.tag, Path(folder)))))
        return
    short, long = measured(60), measured(round(options.hours * 3600))
    print(f"1 minute: {short}")
    print(f"{options.hours:g} hours: {long}")
    print(f"worker: {long['worker_mib'] / short['worker_mib']:.2f} times the memory of one minute")


if __name__ == "__main__":
    main()
