"""Tags images, videos and folders: `tag_paths`, what `reeltag tag` calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reeltag.contract import Task
from reeltag.errors import NetworkReplaced, OutputError, ReeltagError, ServiceError, VideoError
from vod import page
from vod.flight import Flight
from vod.images import ImageRun
from vod.inference import REPLACEMENTS, FrameTagger, with_patience
from vod.inputs import Input, Kind, find_inputs
from vod.options import Sample, TagOptions, Thresholds
from vod.outcome import Outcome, Progress, Silence, Status
from vod.provenance import finished_video, is_same, model_provenance, sha256_of, tasks_of, with_groups
from vod.results import JSON_SUFFIX, check_folder, result_path, write_video
from vod.thumbnails import ThumbnailStore
from vod.video import tag_video

__all__ = ["Outcome", "Progress", "Sample", "Status", "TagOptions", "Thresholds", "check_inputs", "tag_paths"]

VIDEOS_AT_ONCE: Final = 2
"""One video's child starts and opens its file while another one's frames are decoded."""


def check_inputs(paths: Sequence[Path], out: Path) -> None:
    """See, before anything is started, that the inputs exist and the results can be written.

    Raises:
        InputError: A path does not exist.
        OutputError: The output folder cannot be written.
    """
    find_inputs(paths)
    check_folder(out)


async def tag_paths(
    paths: Sequence[Path],
    out: Path,
    client: FrameTagger,
    options: TagOptions | None = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Tag images, videos and folders of them, and write the results.

    A broken file fails alone. What is tagged already, with the same networks and options, is left as it is, so that
    a run that was interrupted goes on where it was.

    Args:
        paths: Files and folders.
        out: Folder for the results; made when it is missing.
        client: The server.
        options: How; the defaults without it.
        progress: Told how it goes on.

    Returns:
        What became of each input, in the order in which they were found.

    Raises:
        InputError: A path does not exist.
        OutputError: The results cannot be written.
        ServiceError: Triton was away for too long, or does not serve the models.
    """
    inputs = find_inputs(paths)
    check_folder(out)
    run = _Run(out, client, options or TagOptions(), progress or Silence())
    return await run.all(inputs)


@dataclass(frozen=True)
class _Run:
    out: Path
    client: FrameTagger
    options: TagOptions
    progress: Progress

    async def all(self, inputs: Sequence[Input]) -> list[Outcome]:
        self.progress.planned(len(inputs))
        outcomes = {each.path: self._ignored(each) for each in inputs if each.kind is Kind.OTHER}
        images = [each for each in inputs if each.kind is Kind.IMAGE]
        if images:
            outcomes |= await ImageRun(self.out, self.client, self.options, self.progress).all(images)
        async with Flight(VIDEOS_AT_ONCE) as flight:
            for each in inputs:
                if each.kind is Kind.VIDEO:
                    await flight.launch(self._video(each, outcomes))
        return [outcomes[each.path] for each in inputs]

    def _ignored(self, each: Input) -> Outcome:
        outcome = Outcome(each.path, Status.IGNORED, f"{each.path.suffix or 'no suffix'}: neither image nor video")
        self.progress.finished(outcome)
        return outcome

    async def _video(self, each: Input, outcomes: dict[Path, Outcome]) -> None:
        self.progress.started(each.path)
        try:
            outcome = await self._finished(each) or await self._tagged_consistently(each)
        except (ServiceError, OutputError):
            raise  # it would befall every other file too
        except ReeltagError as error:
            outcome = Outcome(each.path, Status.FAILED, str(error))
        except OSError as error:
            outcome = Outcome(each.path, Status.FAILED, f"{each.path.name} cannot be read: {error.strerror}")
        outcomes[each.path] = outcome
        self.progress.finished(outcome)

    async def _finished(self, each: Input) -> Outcome | None:
        if self.options.force:
            return None
        old = finished_video(result_path(self.out, each.name, JSON_SUFFIX))
        if old is None:
            return None
        cards = await with_patience(self.client.cards)
        options = with_groups(self.options.of_video(segments=Task.SEGMENT in tasks_of(cards)), cards)
        is_current = is_same(old.provenance, model_provenance(cards, self.options), options)
        if not is_current or await asyncio.to_thread(sha256_of, each.path) != old.source.sha256:
            return None
        files = tuple(result_path(self.out, each.name, suffix) for suffix in (JSON_SUFFIX, ".vtt", ".csv", ".html"))
        if not all(file.exists() for file in files):
            return None
        return Outcome(each.path, Status.DONE, "", files, old.source.duration_seconds, len(old.tags))

    async def _tagged_consistently(self, each: Input) -> Outcome:
        for _ in range(REPLACEMENTS):
            with suppress(NetworkReplaced):
                return await self._tagged(each)
        return await self._tagged(each)

    async def _tagged(self, each: Input) -> Outcome:
        with ThumbnailStore() as thumbnails:
            tagged = await tag_video(
                each.path,
                self.client,
                self.options,
                thumbnails,
                lambda share: self.progress.advanced(each.path, share),
            )
            if not tagged.frames:
                raise VideoError(f"{each.path.name}: no frame could be sampled")
            html = await asyncio.to_thread(page.video_page, tagged, thumbnails)
        tags = tagged.tags
        files = write_video(self.out, each.name, tags, html)
        return Outcome(each.path, Status.TAGGED, "", files, tags.source.duration_seconds, len(tags.tags))
