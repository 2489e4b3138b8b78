"""What each way of sampling costs, and how far its tags agree with those of every frame.

`python -m benchmarks.sampling VIDEO...`, where `street` is the demo's video, and `mix` one that is made of it and of
other films, with scenes in which nothing moves: 720p H.264, a key frame every two seconds. All runs use one server.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av

from benchmarks import media
from benchmarks.server import serving
from reeltag.tags import Interval, VideoTags
from reeltag.triton import TritonClient
from vod.options import Sample, ShotFrames, TagOptions
from vod.stores.names import result_name
from vod.stores.results import JSON_SUFFIX, result_path
from vod.tagging import tag_paths

POLICIES: Final[Mapping[str, TagOptions]] = {
    "every": TagOptions(sample=Sample.EVERY),
    "fps, 5 a second": TagOptions(fps=5.0),
    "adaptive, 5 a second": TagOptions(sample=Sample.ADAPTIVE, fps=5.0),
    "fps, 2 a second": TagOptions(),
    "adaptive, 2 a second": TagOptions(sample=Sample.ADAPTIVE),
    "fps, 1 in 2 seconds": TagOptions(fps=0.5),
    "shots, spread": TagOptions(sample=Sample.SHOTS),
    "shots, first": TagOptions(sample=Sample.SHOTS, shot_frames=ShotFrames.FIRST),
    "shots, middle": TagOptions(sample=Sample.SHOTS, shot_frames=ShotFrames.MIDDLE),
    "shots, sharpest": TagOptions(sample=Sample.SHOTS, shot_frames=ShotFrames.SHARPEST),
    "keyframes": TagOptions(sample=Sample.KEYFRAMES),
}
_GRID_SECONDS: Final = 0.01
_STILL_SECONDS: Final = 6
_RATE: Final = 25

Spans = dict[str, set[int]]
"""Of each label the hundredths of a second at which it holds."""


@dataclass(frozen=True)
class Run:
    """One way of sampling on one video."""

    seconds: float
    """Wall clock."""
    tags: VideoTags


@dataclass(frozen=True)
class Agreement:
    """How far the tags of a run are those of every frame."""

    labels: int
    """Of every frame."""
    found: int
    """Of them."""
    others: int
    """Labels that every frame does not have."""
    time_found: float
    """Share of the labels' time, 0 to 1."""
    time_beyond: float
    """Share of the run's time in which every frame does not have the label, 0 to 1."""


def mixed_video(path: Path) -> None:
    """Write `mix`: films with much motion and little, and pictures that are held, each for some seconds."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=_RATE, options={"preset": "veryfast", "g": str(2 * _RATE)})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.time_base = Fraction(1, _RATE)
        for number, frame in enumerate(_mixed_frames()):
            frame.pts, frame.time_base = number, Fraction(1, _RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def _mixed_frames() -> Iterator[av.VideoFrame]:
    for name in ("bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4"):
        frame = None
        with av.open(str(media.datasets() / name)) as container:
            for frame in container.decode(video=0):
                yield frame.reformat(1280, 720, "yuv420p")
        if frame is not None:
            for _ in range(_STILL_SECONDS * _RATE):
                yield frame.reformat(1280, 720, "yuv420p")


async def tagged(client: TritonClient, path: Path, options: TagOptions, out: Path) -> Run:
    """Tag a video."""
    began = time.perf_counter()
    (outcome,) = await tag_paths([path], out, client, options)
    seconds = time.perf_counter() - began
    if outcome.message:
        raise SystemExit(outcome.message)
    return Run(seconds, VideoTags.model_validate_json(result_path(out, result_name(path), JSON_SUFFIX).read_bytes()))


def agreement(reference: VideoTags, tags: VideoTags) -> Agreement:
    """Compare labels, and the time in which they hold; whichever network said so."""
    wanted, had = _spans(reference), _spans(tags)
    common = sum(len(wanted[label] & had[label]) for label in wanted.keys() & had.keys())
    return Agreement(
        labels=len(wanted),
        found=len(wanted.keys() & had.keys()),
        others=len(had.keys() - wanted.keys()),
        time_found=common / max(1, sum(map(len, wanted.values()))),
        time_beyond=1 - common / max(1, sum(map(len, had.values()))),
    )


def _spans(tags: VideoTags) -> Spans:
    spans: Spans = defaultdict(set)
    for tag in tags.tags:
        for interval in tag.intervals:
            spans[tag.label] |= set(_grid(interval))
    return dict(spans)


def _grid(interval: Interval) -> range:
    return range(round(interval.start_seconds / _GRID_SECONDS), round(interval.end_seconds / _GRID_SECONDS))


async def compared(url: str, path: Path, policies: Sequence[str]) -> str:
    """Markdown: a line for each way of sampling one video."""
    with tempfile.TemporaryDirectory() as folder:
        async with TritonClient(url) as client:
            await tagged(client, path, POLICIES["keyframes"], Path(folder) / "warm")
            runs = {name: await tagged(client, path, POLICIES[name], Path(folder) / name) for name in policies}
    every = runs["every"]
    source, shots = every.tags.source, len(every.tags.shots)
    size = f"{source.width}x{source.height}, {source.frame_rate:g} frames/s"
    lines = [
        f"| {source.name}, {source.duration_seconds:.1f} s, {size}, {shots} shots | seconds of video a second |"
        " of every frame | frames looked at | labels found | other labels | time found | time beyond |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, run in runs.items():
        same = agreement(every.tags, run.tags)
        lines.append(
            f"| {name} | {source.duration_seconds / run.seconds:.1f} | {every.seconds / run.seconds:.1f} |"
            f" {run.tags.coverage.frames_sampled} | {same.found} of {same.labels} | {same.others} |"
            f" {same.time_found:.0%} | {same.time_beyond:.0%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print a table for each video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="street, mix, or a path")
    parser.add_argument("--policy", action="append", choices=list(POLICIES), help="only these, beside every")
    given = parser.parse_args()
    policies = ["every", *(name for name in given.policy or POLICIES if name != "every")]
    with tempfile.TemporaryDirectory() as folder, serving() as served:
        for video in given.videos:
            path = Path(video)
            if video == "street":
                path = media.datasets() / "bikes.mp4"
            elif video == "mix":
                path = Path(folder) / "mix.mp4"
                mixed_video(path)
            elif not path.exists():
                print(f"{video} is not there\n")
                continue
            print(asyncio.run(compared(served.triton_url, path, policies)), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
