"""`reeltag tag` and `reeltag show`."""

from __future__ import annotations

import asyncio
from enum import Enum
from pathlib import Path
from typing import Annotated

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


class Sampling(str, Enum):
    """Which frames of a video are looked at."""

    FPS = "fps"
    KEYFRAMES = "keyframes"
    SHOTS = "shots"


def tag(
    paths: Annotated[list[Path], typer.Argument(help="Images, videos and folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; made when it is missing.")],
    fps: Annotated[float | None, typer.Option(help="Frames looked at per second of video. Default: 2.")] = None,
    sample: Annotated[
        Sampling, typer.Option(help="fps: evenly in time; keyframes: fastest, no shots; shots: a few frames a shot.")
    ] = Sampling.FPS,
    frames: Annotated[bool, typer.Option("--frames", help="Also write every sampled frame's detections.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Tag again what has been tagged already.")] = False,
    model: ModelOption = None,
    url: UrlOption = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Tag images and videos: NAME.tags.json, NAME.vtt, NAME.csv and the page NAME.html for each video."""
    from vod.console import ConsoleProgress
    from vod.options import Sample, TagOptions
    from vod.tagging import check_inputs, tag_paths

    if fps is not None and sample is Sampling.SHOTS:
        raise InvalidOption("--fps does not go with --sample shots, which looks at a few frames of each shot")
    rate = TagOptions.fps if fps is None else fps
    options = TagOptions(sample=Sample(sample.value), fps=rate, frames=frames, force=force)
    check_inputs(paths, out)
    settings = settings_of(triton_url=url and triton_address(url), model_repository=model_repository)
    with running_triton(settings) as triton:

        async def run() -> bool:
            async with triton.client(settings, model or ()) as client:
                with ConsoleProgress(progress) as bar:
                    return bar.conclude(await tag_paths(paths, out, client, options, bar))

        try:
            good = asyncio.run(run())
        except KeyboardInterrupt:
            progress.print("interrupted; the same command goes on where it was")
            raise
    if not good:
        raise typer.Exit(1)


def show(result: Annotated[Path, typer.Argument(help="A NAME.tags.json of a video.")]) -> None:
    """Print the tags of a video as a table."""
    from pydantic import ValidationError

    from reeltag.tags import VideoTags
    from vod.console import tags_table

    try:
        tags = VideoTags.model_validate_json(result.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{result} is no result of a video: {error}") from error
    results.print(tags_table(tags))
