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
from vod.images import ImageRun
from vod.inference.flight import Flight
from vod.inference.ring import REPLACEMENTS, FrameTagger, with_patience
from vod.options import Sample, TagOptions, Thresholds
from vod.outcome import Outcome, Progress, Silence, Status
from vod.pages import page
from vod.pages.index import write_indices
from vod.provenance import (
    earlier_form,
    finished_video,
    is_same,
    labels_of,
    model_provenance,
    sha256_of,
    tasks_of,
    with_groups,
)
from vod.stores.earlier import adopt, drop_stale, has_earlier
from vod.stores.files import Folder, check_folder
from vod.stores.inputs import Input, Kind, find_inputs
from vod.stores.results import JSON_SUFFIX, VIDEO_SUFFIXES, link, result_path
from vod.stores.thumbnails import ThumbnailStore
from vod.stores.video_files import video_files, write_files
from vod.video import tag_video

__all__ = ["Outcome", "Progress", "Sample", "Status", "TagOptions", "Thresholds", "check_inputs", "tag_paths"]

JOBS: Final = 2
"""One video's child starts and opens its file while another one's frames are decoded."""


def check_inputs(paths: Sequence[Path], out: Path) -> None:
    """See, before anything is started, that the inputs exist and the results can be written.

    Raises:
        InputError: There is nothing at any of the paths.
        OutputError: The output folder cannot be written.
    """
    check_folder(out)
    find_inputs(paths, out)


async def tag_paths(
    paths: Sequence[Path],
    out: Path,
    client: FrameTagger,
    options: TagOptions | None = None,
    progress: Progress | None = None,
    *,
    jobs: int = JOBS,
) -> list[Outcome]:
    """Tag images, videos and folders of them, and write the results.

    Whatever is wrong with one input, a file, a name or a result that cannot be written, fails that input alone. What is
    tagged already, with the same networks and options, is left as it is, so that a run that was interrupted goes on
    where it was.

    Args:
        paths: Files and folders.
        out: Folder for the results; made when it is missing.
        client: The server.
        options: How; the defaults without it.
        progress: Told how it goes on.
        jobs: Videos that are tagged at one time, at least 1; where there are fewer, segments of them.

    Returns:
        What became of each input, in the order in which they were found.

    Raises:
        InputError: There is nothing at any of the paths.
        InvalidOption: The taxonomy names labels that no network knows.
        OutputError: No results can be written.
        ServiceError: Triton was away for too long, or does not serve the models.
    """
    check_folder(out)
    inputs = find_inputs(paths, out)
    options = options or TagOptions()
    options.taxonomy.check_labels(labels_of(await with_patience(client.cards)))
    return await _Run(out, client, options, progress or Silence(), jobs).all(inputs)


@dataclass(frozen=True)
class _Run:
    out: Path
    client: FrameTagger
    options: TagOptions
    progress: Progress
    jobs: int

    async def all(self, inputs: Sequence[Input]) -> list[Outcome]:
        self.progress.planned(len(inputs))
        outcomes = {each.path: self._untagged(each) for each in inputs if each.kind in (Kind.OTHER, Kind.BROKEN)}
        images = [each for each in inputs if each.kind is Kind.IMAGE]
        if images:
            outcomes |= await ImageRun(self.out, self.client, self.options, self.progress).all(images)
        videos = [each for each in inputs if each.kind is Kind.VIDEO]
        segments = max(1, self.jobs // max(1, len(videos))) if self.jobs > JOBS else 1
        async with Flight(self.jobs) as flight:
            for each in videos:
                await flight.launch(self._video(each, outcomes, segments))
        await asyncio.to_thread(write_indices, self.out, list(outcomes.values()))
        return [outcomes[each.path] for each in inputs]

    def _untagged(self, each: Input) -> Outcome:
        status = Status.IGNORED if each.kind is Kind.OTHER else Status.FAILED
        outcome = Outcome(each.path, status, each.reason)
        self.progress.finished(outcome)
        return outcome

    async def _video(self, each: Input, outcomes: dict[Path, Outcome], segments: int) -> None:
        self.progress.started(each.path)
        try:
            outcome = await self._finished(each) or await self._tagged_consistently(each, segments)
        except ServiceError:
            raise  # it would befall every other file too
        except OutputError as error:
            check_folder(self.out)  # so would this, where nothing can be written at all
            outcome = Outcome(each.path, Status.FAILED, str(error))
        except ReeltagError as error:
            outcome = Outcome(each.path, Status.FAILED, str(error) + await self._drop_stale(each))
        except OSError as error:
            outcome = Outcome(each.path, Status.FAILED, f"{each.path.name} cannot be read: {error.strerror}")
        outcomes[each.path] = outcome
        self.progress.finished(outcome)

    async def _drop_stale(self, each: Input) -> str:
        if not result_path(self.out, each.name, JSON_SUFFIX).exists():
            return ""
        try:
            return drop_stale(self.out, each, await asyncio.to_thread(sha256_of, each.path))
        except OSError:
            return ""  # what it holds now cannot be told

    async def _finished(self, each: Input) -> Outcome | None:
        if has_earlier(self.out, each):
            adopt(self.out, each, "video", await asyncio.to_thread(sha256_of, each.path))
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
        files = self._files(each)
        if not all(file.exists() for file in files):
            return None
        seconds, gaps = old.source.duration_seconds, old.coverage.gaps
        return Outcome(each.path, Status.DONE, earlier_form(old), files, seconds, len(old.tags), gaps)

    async def _tagged_consistently(self, each: Input, segments: int) -> Outcome:
        for _ in range(REPLACEMENTS):
            with suppress(NetworkReplaced):
                return await self._tagged(each, segments)
        return await self._tagged(each, segments)

    async def _tagged(self, each: Input, segments: int) -> Outcome:
        with ThumbnailStore() as thumbnails:
            tagged = await tag_video(
                each.path,
                self.client,
                self.options,
                thumbnails,
                lambda share: self.progress.advanced(each.path, share),
                at_once=segments,
            )
            if not tagged.frames:
                raise VideoError(f"{each.path.name}: no frame could be sampled")
            source = link(each.path.absolute(), result_path(self.out, each.name, ".html").parent)
            files = video_files(
                each.name,
                tagged,
                lambda: page.video_page(tagged, thumbnails, source),
                lambda: page.poster(tagged, thumbnails).jpeg,
            )
            await asyncio.to_thread(write_files, Folder(self.out), files)
        seconds, gaps = tagged.source.duration_seconds, tagged.coverage.gaps
        return Outcome(each.path, Status.TAGGED, "", self._files(each), seconds, len(tagged.tags), gaps)

    def _files(self, each: Input) -> tuple[Path, ...]:
        return tuple(result_path(self.out, each.name, suffix) for suffix in VIDEO_SUFFIXES)
