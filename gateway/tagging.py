"""Images and options to an answer: header checks before Triton, labels and thresholds after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.answering.drawers import Drawers
from gateway.answering.schemas import ImageResult
from gateway.answering.sheets import Sheet
from gateway.errors import detail_of
from gateway.observing import exchange
from gateway.queueing.ticket import Answer, Batched
from gateway.queueing.ways import Sound, Ways
from gateway.receiving.headers import HeaderReader
from gateway.receiving.options import TagOptions
from gateway.receiving.uploads import Upload
from gateway.tasks import TASKS, Asked
from gateway.tritons.catalogue import Catalogue
from gateway.tritons.tagger import TaskSet, Wanted
from reeltag.contract import Task
from reeltag.errors import ModelUnavailable, ReeltagError, TritonUnavailable, UnknownModel, UnknownTask
from reeltag.frames import ImageHeader
from reeltag.priority import Priority
from reeltag.settings import Settings
from reeltag.triton import ImageOutputs, joined

_LOST: Final = (TritonUnavailable, ModelUnavailable)
"""Errors after which Triton may serve something else; that it has much to do says nothing of the kind."""


@dataclass(frozen=True)
class Question:
    """What a request wants to know of its images."""

    tasks: TaskSet
    asked: Asked
    """How its tasks are to be answered."""
    priority: Priority
    """Whether its images go before others."""
    models: tuple[str, ...] = ()
    """Networks that are to answer, at most one a task, instead of the defaults."""

    @property
    def has_map(self) -> bool:
        """Whether a class map is needed."""
        return (self.asked.class_map or self.asked.drawn) and any(TASKS[task].has_map for task in self.tasks)


@dataclass(frozen=True)
class Tagged:
    """What was found."""

    results: tuple[ImageResult, ...]
    """One an image, in order."""
    answers: tuple[Answer, ...]
    """What they were made of, or why there is none."""
    errors: tuple[ReeltagError, ...]
    """Of the images that failed, in order."""
    model_versions: dict[str, str]
    queue_seconds: float
    triton_seconds: float


class Tagging:
    """Tags the images of one request at a time, through ways that it shares with the other requests."""

    def __init__(self, settings: Settings, catalogue: Catalogue, headers: HeaderReader, ways: Ways) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._headers = headers
        self._ways = ways
        self._drawers = Drawers()

    def admit(self, priority: Priority) -> None:
        """Refuse a request before its body is read, when it could not be queued; raises as `Batcher.admit`."""
        self._ways.admit(priority)

    def retry_after(self) -> int:
        """In how many seconds what waits now is likely to be done."""
        return self._ways.retry_after()

    @property
    def is_closing(self) -> bool:
        """Whether nothing is taken any more."""
        return self._ways.is_closing

    def has_room(self, priority: Priority, images: int = 1) -> bool:
        """Whether so many more images could be queued."""
        return self._ways.has_room(priority, images)

    async def _parse_tasks(self, names: Sequence[str]) -> TaskSet:
        """Tasks from their names; each string may hold several, separated by commas.

        Raises:
            UnknownTask: No task, or one that does not exist.
        """
        wanted = [name.strip() for names_of in names for name in names_of.split(",")]
        unknown = [name for name in wanted if name not in {task.value for task in Task}]
        if not unknown:
            return tuple(task for task in Task if task.value in wanted)
        served = ", ".join(task.value for task in await self._served_tasks())
        raise UnknownTask(f"unknown task {unknown[0]!r}; tasks served: {served}")

    async def _parse_models(self, names: Sequence[str], tasks: TaskSet) -> tuple[str, ...]:
        """Networks from their names; each string may hold several, separated by commas.

        Raises:
            UnknownModel: One is not served; the text names those that are.
            InvalidOption: One's task is not among those asked, or two do the same.
            ServiceError: Triton cannot be asked what it serves.
        """
        wanted = [name.strip() for names_of in names for name in names_of.split(",")]
        return await self._catalogue.chosen(tasks, wanted)

    async def question(self, options: TagOptions, priority: Priority, *, drawn: bool = False) -> Question:
        """What a request's options ask; raises as `_parse_tasks` and `_parse_models`.

        Args:
            options: The request's.
            priority: Whether its images go before others.
            drawn: Whether the image is wanted with the answer drawn on it.
        """
        tasks = await self._parse_tasks(options.all_tasks)
        return Question(
            tasks,
            Asked(
                score_threshold=options.score_threshold,
                top_k=options.top_k,
                class_map=options.class_map,
                normalised=options.boxes == "normalised",
                default_score_threshold=self._settings.score_threshold,
                default_top_k=self._settings.top_k,
                drawn=drawn,
            ),
            priority,
            await self._parse_models(options.model, tasks),
        )

    async def _served_tasks(self) -> tuple[Task, ...]:
        try:
            return tuple((await self._catalogue.read()).cards)
        except ReeltagError:  # the request is wrong whether Triton runs or not
            return tuple(Task)

    async def tag(
        self, uploads: Sequence[Upload], question: Question, *, timeout_seconds: float | None = None
    ) -> Tagged:
        """Answer the question for each image.

        Args:
            uploads: The images.
            question: What to answer.
            timeout_seconds: How long the caller waits, where that is less than the setting's.

        Raises:
            ServiceError: Triton cannot be reached, lacks a model, or too many images wait.
            UnknownModel: No network for a task is there.
        """
        if (request := exchange.current()) is not None:
            request.images += len(uploads)
        with exchange.stage("check"):
            headers = await self._headers.read([upload.data for upload in uploads])
        checked = [upload.problem or header for upload, header in zip(uploads, headers, strict=True)]
        sound = [
            Sound(upload.data, header.is_large)
            for upload, header in zip(uploads, checked, strict=True)
            if isinstance(header, ImageHeader)
        ]
        errors = tuple(error for error in checked if isinstance(error, ReeltagError))
        if not sound:  # Triton is not bothered, so it does not matter whether it runs
            results = tuple(failed_result(u.name, error) for u, error in zip(uploads, errors, strict=True))
            return Tagged(results, errors, errors, {}, 0.0, 0.0)
        try:
            plan = await self._catalogue.plan(question.tasks, question.models)
            batched = await self._ask(plan, question, sound, timeout_seconds)
        except (*_LOST, UnknownModel):
            self._catalogue.forget()
            raise
        if any(isinstance(answer, _LOST) for answer in batched.answers):
            self._catalogue.forget()
        of_sound = iter(batched.answers)
        answers = [error if isinstance(error, ReeltagError) else next(of_sound) for error in checked]

        def all_results() -> tuple[ImageResult, ...]:
            return tuple(_result(u.name, a, question) for u, a in zip(uploads, answers, strict=True))

        with exchange.stage("serialise"):
            # Large pictures of class maps would keep other requests waiting.
            results = await asyncio.to_thread(all_results) if question.has_map else all_results()
        return Tagged(
            results,
            tuple(answers),
            tuple(answer for answer in answers if isinstance(answer, ReeltagError)),
            _versions(answers),
            batched.queue_seconds,
            batched.triton_seconds,
        )

    async def tag_drawn(self, upload: Upload, question: Question) -> tuple[Tagged, bytes]:
        """As `tag` of one image, and that image with the answer drawn on it; empty where it could not be tagged.

        Raises:
            ReeltagError: As `tag` and `Drawers.draw`.
        """
        tagged = await self.tag([upload], question)
        (answer,) = tagged.answers
        if isinstance(answer, ReeltagError):
            return tagged, b""
        sheet = Sheet()
        for task in question.tasks:
            TASKS[task].draw(tagged.results[0], answer, sheet)
        with exchange.stage("serialise"):
            return tagged, await self._drawers.draw(upload.data, sheet)

    async def tag_one(self, upload: Upload, question: Question, *, timeout_seconds: float | None = None) -> ImageResult:
        """One image of many, in a task of its own: an error is its own, and the others go on."""
        whole = exchange.current()
        part = None if whole is None else whole.part().enter()
        try:
            return (await self.tag([upload], question, timeout_seconds=timeout_seconds)).results[0]
        except ReeltagError as error:
            return failed_result(upload.name, error)
        finally:
            if whole is not None and part is not None:
                whole.take(part)

    async def _ask(
        self, plan: Sequence[Wanted], question: Question, images: Sequence[Sound], timeout_seconds: float | None
    ) -> Batched:
        has_map, loop = question.has_map, asyncio.get_running_loop()
        end = None if timeout_seconds is None else loop.time() + timeout_seconds
        parts = []
        for each in plan:
            wanted = each._replace(class_maps=has_map and any(TASKS[task].has_map for task in each.tasks))
            left = None if end is None else end - loop.time()
            began = time.monotonic()
            part = await self._ways.submit(wanted, images, priority=question.priority, timeout_seconds=left)
            if (request := exchange.current()) is not None:
                request.note_stage("queue", began, began + part.queue_seconds)
                request.note_stage("infer", began + part.queue_seconds, time.monotonic())
            parts.append(part)
        return Batched(
            tuple(joined(of_image) for of_image in zip(*(part.answers for part in parts), strict=True)),
            sum(part.queue_seconds for part in parts),
            sum(part.triton_seconds for part in parts),
        )


def _result(name: str, answer: Answer, question: Question) -> ImageResult:
    if isinstance(answer, ReeltagError):
        return failed_result(name, answer)
    fields: dict[str, Any] = {}
    for task in question.tasks:
        fields.update(TASKS[task].read(answer, question.asked))
    return ImageResult(name=name, width=answer.width, height=answer.height, **fields)


def failed_result(name: str, error: ReeltagError) -> ImageResult:
    """The result of an image that could not be tagged."""
    return ImageResult(name=name, error=detail_of(error))


def _versions(answers: Sequence[Answer]) -> dict[str, str]:
    """Of each network that answered; two of one that was replaced between the images of a request."""
    versions: dict[str, dict[str, None]] = {}
    for answer in answers:
        for card in answer.cards.values() if isinstance(answer, ImageOutputs) else ():
            versions.setdefault(card.network, {})[card.version] = None
    return {network: ", ".join(those) for network, those in versions.items()}
