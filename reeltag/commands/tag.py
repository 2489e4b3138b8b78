"""`reeltag tag` and `reeltag show`."""

from __future__ import annotations

import asyncio
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reeltag.commands.common import (
    ModelOption,
    RepositoryOption,
    UrlOption,
    progress,
    results,
    running_triton,
    settings_of,
    triton_address,
)
from reeltag.errors import InputError, InvalidOption

if TYPE_CHECKING:
    from reeltag.tags import VideoTags


class Tiling(str, Enum):
    """Whether objects are looked for in parts of a picture, too."""

    AUTO = "auto"
    OFF = "off"


class Sampling(str, Enum):
    """Which frames of a video are looked at."""

    EVERY = "every"
    FPS = "fps"
    KEYFRAMES = "keyframes"
    SHOTS = "shots"
    ADAPTIVE = "adaptive"


class Decoding(str, Enum):
    """What decodes videos."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


class ShotSampling(str, Enum):
    """Which frames of a shot are looked at."""

    SPREAD = "spread"
    FIRST = "first"
    MIDDLE = "middle"
    SHARPEST = "sharpest"


def tag(
    paths: Annotated[list[Path], typer.Argument(help="Images, videos and folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; made when it is missing.")],
    fps: Annotated[
        float | None, typer.Option(help="Frames looked at per second of video, or the most. Default: 2.")
    ] = None,
    sample: Annotated[
        Sampling,
        typer.Option(
            help="every: all frames; fps: evenly in time; keyframes: fastest, no shots; shots: a few frames a shot; "
            "adaptive: fewer where the picture stands still. docs/videos.md compares them."
        ),
    ] = Sampling.FPS,
    shot_frames: Annotated[
        ShotSampling | None,
        typer.Option(help="With --sample shots: three or more of each (spread, the default), or one of them."),
    ] = None,
    frames: Annotated[bool, typer.Option("--frames", help="Also write every sampled frame's detections.")] = False,
    tiles: Annotated[
        Tiling, typer.Option(help="auto: very wide or tall images are looked at in parts, too; off: as a whole only.")
    ] = Tiling.AUTO,
    taxonomy: Annotated[
        Path | None,
        typer.Option(help="JSON file: labels to keep, thresholds of labels, categories that they make (docs/tags.md)."),
    ] = None,
    decoder: Annotated[
        Decoding | None,
        typer.Option(
            help="auto (the default): NVIDIA's video decoder where it was found to work; gpu: an error where not."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a line of JSON for each input: done, skipped, failed or ignored, and why."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            help="Videos tagged at one time; where there are fewer, parts of long ones. Default: by the cores.",
            min=1,
            max=256,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Tag again what has been tagged already.")] = False,
    model: ModelOption = None,
    url: UrlOption = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Tag images and videos: JSON for each, subtitles, CSV and a page for each video, index.html over all of them.

    The results of /data/trip/a.mp4 are OUT/data/trip/a.mp4.tags.json and so on: names depend on the source alone.
    """
    from vod.console import ConsoleProgress
    from vod.options import Decoder, Sample, ShotFrames, TagOptions, Tiles
    from vod.pages.report import RunReport
    from vod.tagging import check_inputs, tag_paths
    from vod.taxonomy import Taxonomy, read_taxonomy

    if fps is not None and sample in (Sampling.SHOTS, Sampling.EVERY):
        what = "a few frames of each shot" if sample is Sampling.SHOTS else "all frames"
        raise InvalidOption(f"--fps does not go with --sample {sample.value}, which looks at {what}")
    if shot_frames is not None and sample is not Sampling.SHOTS:
        raise InvalidOption(f"--shot-frames goes with --sample shots alone, not with --sample {sample.value}")
    rate = TagOptions.fps if fps is None else fps
    address = url and triton_address(url)
    settings = settings_of(
        triton_url=address, model_repository=model_repository, decoder=decoder and decoder.value, tag_jobs=jobs
    )
    options = TagOptions(
        sample=Sample(sample.value),
        fps=rate,
        shot_frames=ShotFrames(shot_frames.value) if shot_frames else ShotFrames.SPREAD,
        frames=frames,
        force=force,
        tiles=Tiles(tiles.value),
        taxonomy=read_taxonomy(taxonomy) if taxonomy else Taxonomy(),
        decoder=Decoder(settings.decoder),
    )
    check_inputs(paths, out)
    with running_triton(settings) as triton:

        async def run() -> bool:
            async with triton.client(settings, model or ()) as client:
                with ConsoleProgress(progress) as bar, RunReport(report, bar) as told:
                    tagged = await tag_paths(paths, out, client, options, told, jobs=settings.tag_jobs)
                    return bar.conclude(tagged)

        try:
            good = asyncio.run(run())
        except KeyboardInterrupt:
            progress.print("interrupted; the same command goes on where it was")
            raise
    if not good:
        raise typer.Exit(1)


def show(paths: Annotated[list[Path], typer.Argument(help="NAME.tags.json of videos.")]) -> None:
    """Print the tags of videos as tables."""
    from vod.console import tags_table

    wrong: list[str] = []
    for path in paths:
        tags = _video_tags(path)
        if isinstance(tags, str):
            wrong.append(tags)
        else:
            results.print(tags_table(tags))
    if wrong:
        raise InputError("; ".join(wrong))


def _video_tags(path: Path) -> VideoTags | str:
    """The result of a video, or what is wrong with the file."""
    from pydantic import ValidationError

    from reeltag.tags import VideoTags
    from vod.stores.names import shown

    try:
        return VideoTags.model_validate_json(path.read_bytes())
    except OSError as error:
        return f"{shown(path)} cannot be read: {error.strerror}"
    except ValidationError:
        return f"{shown(path)} is no result of a video; name a NAME.tags.json"
