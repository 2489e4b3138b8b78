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
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import psutil

from benchmarks.busy_street import BusyStreet
from reeltag.settings import Settings
from vod.jobs.options import JobOptions, options_of
from vod.jobs.results import Results
from vod.jobs.tagging import Part
from vod.jobs.video_tagging import VideoTagging
from vod.stores.job_files import VideoResult, write_job_files
from vod.stores.source import Found, SourceKind

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


async def tag(path: Path, folder: Path, options: JobOptions) -> dict[str, float]:
    """Tag a video as a job does, with every record in a file, write all its results, and say what that took."""
    tagging, began = VideoTagging(BusyStreet(), Settings().segment_seconds), time.monotonic()
    planned = await tagging.plan(path, options)
    sizes = []
    for index in range(len(planned.parts)):
        record = await tagging.segment(path, planned.text, index, options, lambda _: None, lambda _: None)
        sizes.append(len(record))
        (folder / str(index)).write_bytes(record)

    async def parts() -> AsyncIterator[Part]:
        for index in range(len(planned.parts)):
            yield Part(index, (folder / str(index)).read_bytes())

    results, name = Results(str(folder / "results"), folder / "scratch"), "video"
    found = Found(SourceKind.PATH, str(path), str(path), name)
    with closing(await tagging.results(found, path, planned.text, parts(), options, None)) as tagged:
        results.write(name, tagged.files)
    with results.store.reading(f"{name}/{name}.tags.json") as file:
        write_job_files(results.store, name, [VideoResult(0, name, name, file)])
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    written = {each.suffix[1:]: each.stat().st_size / 2**20 for each in (folder / "results").rglob("*.*")}
    return {
        "seconds": round(time.monotonic() - began, 1),
        "segments": len(sizes),
        "worker_mib": round(own, 1),
        "child_mib": round(max(_children), 1),
        "record_mib": round(sum(sizes) / 2**20 / len(sizes), 2),
        "json_mib": round(written["json"], 2),
        "page_mib": round(written["html"], 2),
        "jsonl_mib": round(written["jsonl"], 2),
    }


_children: list[float] = [0.0]


def watch_children() -> None:
    """Note the memory of this process's children five times a second, MiB."""
    while True:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                _children[0] = max(_children[0], child.memory_info().rss / 2**20)
        time.sleep(0.2)


def measured(seconds: int, given: argparse.Namespace) -> dict[str, float]:
    """Tag a video of this length in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_video(path, seconds)
        command = [sys.executable, "-m", "benchmarks.long_videos", "--tag", str(path)]
        command += ["--sample", given.sample, "--fps", str(given.fps), *(["--frames"] if given.frames else [])]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    result: dict[str, float] = json.loads(found.stdout)
    return result


def main() -> None:
    """Print both, and how they compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=3.0, help="length of the long video")
    parser.add_argument("--tag", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sample", default="fps", help="as of a job")
    parser.add_argument("--fps", type=float, default=2.0, help="as of a job")
    parser.add_argument("--frames", action="store_true", help="as of a job")
    given = parser.parse_args()
    if given.tag:
        importlib.import_module("vod.jobs.worker")
        threading.Thread(target=watch_children, daemon=True).start()
        options = options_of({"sample": given.sample, "fps": given.fps, "frames": given.frames})
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asyncio.run(tag(given.tag, Path(folder), options))))
        return
    short, long = measured(60, given), measured(round(given.hours * 3600), given)
    print(f"1 minute: {short}")
    print(f"{given.hours:g} hours: {long}")
    print(f"worker: {long['worker_mib'] / short['worker_mib']:.2f} times the memory of one minute")


if __name__ == "__main__":
    main()
