"""The contract of `reeltag.contract`, asked of a Triton server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from reeltag import contract
from reeltag.contract import ModelCard, Task
from reeltag.errors import (
    ImageRejected,
    InvalidOption,
    ModelUnavailable,
    NetworkReplaced,
    ReeltagError,
    UnknownModel,
)
from reeltag.triton_connection import TritonConnection
from reeltag.triton_messages import Array, SharedTensor

Failure = TypeVar("Failure", bound=ReeltagError)


@dataclass(frozen=True)
class ImageOutputs:
    """What the networks said of one image, before thresholds and labels."""

    width: int
    """Columns of the upright source, pixels."""
    height: int
    """Rows of the upright source, pixels."""
    tensors: Mapping[Task, Mapping[str, Array]]
    """By task and tensor name, without the batch axis, padding of boxes removed."""
    cards: Mapping[Task, ModelCard]
    """By task, of the network that answered."""


def joined(answers: Sequence[ImageOutputs | Failure]) -> ImageOutputs | Failure:
    """One image's answers to several requests as one; an error of any of them is the image's."""
    outputs: list[ImageOutputs] = []
    for answer in answers:
        if not isinstance(answer, ImageOutputs):
            return answer
        outputs.append(answer)
    tensors = {task: value for output in outputs for task, value in output.tensors.items()}
    cards = {task: card for output in outputs for task, card in output.cards.items()}
    return ImageOutputs(outputs[0].width, outputs[0].height, tensors, cards)


class TritonClient(TritonConnection):
    """Asks a Triton server for the ensembles of the contract.

    Args:
        url: Of its gRPC endpoint, as `TritonConnection` takes it.
        timeout_seconds: Longest wait for one answer.
        secret: For a server's restricted protocols.
        on_lost: Called with the reason when a backend was lost, which takes a new start of the server.
        models: Names of networks that answer their tasks here, instead of those that are the server's defaults.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 60.0,
        secret: str | None = None,
        on_lost: Callable[[str], None] | None = None,
        models: Sequence[str] = (),
    ) -> None:
        super().__init__(url, timeout_seconds=timeout_seconds, secret=secret, on_lost=on_lost)
        self._models = tuple(models)
        self._cards: dict[str, ModelCard] | None = None
        """Of every ready model that carries one, by its name."""

    async def cards(self) -> dict[str, ModelCard]:
        """Model cards of the ready ensembles that carry one, by ensemble name; remembered once all were read.

        Raises:
            UnknownModel: A network of `models` is not served.
            InvalidOption: Two of them do the same.
        """
        every, networks = await self._all_cards(), await self.networks()
        cards = {name: card for name, card in every.items() if not _is_named(name, card)}
        chosen: dict[Task, ModelCard] = {}
        for card in (known(name, networks) for name in self._models):
            task = Task(card.task)
            if task in chosen:
                raise InvalidOption(f"{chosen[task].network} and {card.network} both do {task.value}; name one of them")
            chosen[task] = cards[task.value] = cards[task.frames_ensemble] = card
        return cards

    async def networks(self) -> dict[str, ModelCard]:
        """Cards of the networks that can be asked by name, by it; remembered as those of `cards` are."""
        cards = await self._all_cards()
        named = (card for name, card in cards.items() if name == contract.named_ensemble(card.task, card.network))
        return {card.network: card for card in named}

    async def _all_cards(self) -> dict[str, ModelCard]:
        if self._cards is None:
            ready = [entry for entry in await self.index() if entry.state == "READY"]
            configs = await asyncio.gather(
                *(self.config(entry.name, entry.version) for entry in ready), return_exceptions=True
            )
            said: dict[str, Any] = {}
            for entry, config in zip(ready, configs, strict=True):
                if not isinstance(config, BaseException):
                    said[entry.name] = config.parameters
                elif not isinstance(config, ModelUnavailable):  # that one went since it was listed
                    raise config
            cards = {
                name: ModelCard.model_validate_json(parameters[contract.CARD_PARAMETER].string_value)
                for name, parameters in said.items()
                if contract.CARD_PARAMETER in parameters
            }
            if len(said) < len(ready):
                return cards
            self._cards = cards
        return self._cards

    def forget_cards(self) -> None:
        """Read the cards again at the next call, as after the server was restarted."""
        self._cards = None

    async def card(self, ensemble: str) -> ModelCard:
        """Card of one ensemble.

        Raises:
            ModelUnavailable: The server does not serve it.
        """
        cards = await self.cards()
        if ensemble not in cards:
            self.forget_cards()
            served = ", ".join(sorted(cards)) or "none"
            raise ModelUnavailable(f"Triton does not serve {ensemble!r}; it serves: {served}")
        return cards[ensemble]

    async def _check_not_replaced(self, model: str, version: str, error: ModelUnavailable) -> None:
        try:
            await super()._check_not_replaced(model, version, error)
        except NetworkReplaced:
            self.forget_cards()
            raise

    async def infer_images(
        self,
        cards: Mapping[Task, ModelCard],
        images: Sequence[bytes],
        *,
        class_maps: bool = False,
        named: Collection[str] = (),
        timeout_seconds: float | None = None,
    ) -> list[ImageOutputs | ImageRejected]:
        """Ask the networks of these cards, and no others, about encoded images: all in one request, or one a task.

        Args:
            cards: Of the tasks to do, at least one; as `card` gives them for the tasks' ensembles.
            images: 1 to `MAX_BATCH_SIZE` encoded images.
            class_maps: Ask for `CLASS_MAP` too, a byte for each pixel of the input.
            named: Names of the networks among them that are asked by name, because they need not be the defaults of
                their tasks. Ensembles of several tasks are of the defaults alone: each task is then asked alone.
            timeout_seconds: Longest wait, where that is less than the client's.

        Returns:
            One entry an image, in order; an image that cannot be decoded gives its own error.

        Raises:
            NetworkReplaced: Another network than that of a card answers its task now.
            ReeltagError: As `infer`.
        """
        tasks = tuple(task for task in Task if task in cards)
        by_name = {*named, *self._models}
        if len(tasks) > 1 and any(cards[task].network in by_name for task in tasks):
            alone = [
                self.infer_images(
                    {task: cards[task]}, images, class_maps=class_maps, named=by_name, timeout_seconds=timeout_seconds
                )
                for task in tasks
            ]
            return [joined(answers) for answers in zip(*await asyncio.gather(*alone), strict=True)]
        ensemble = asked_ensemble(contract.image_ensemble(tasks), cards[tasks[0]], by_name)
        joint = len(tasks) > 1
        outputs = {task: _wanted(task, class_maps) for task in tasks}
        names = {(task, t): contract.joint_output(task, t) if joint else t for task in tasks for t in outputs[task]}
        tensors = await self.infer(
            ensemble,
            {contract.IMAGE: np.array([[image] for image in images], dtype=np.object_)},
            [contract.ERROR, contract.GEOMETRY, *names.values()],
            version=contract.ensemble_version(cards),
            timeout_seconds=timeout_seconds,
        )
        results: list[ImageOutputs | ImageRejected] = []
        for i in range(len(images)):
            problem = tensors[contract.ERROR][i, 0].decode()
            if problem:
                code, _, message = problem.partition(": ")
                results.append(ImageRejected(code, message))
                continue
            of_image = {t: {n: tensors[names[t, n]][i] for n in outputs[t]} for t in tasks}
            width, height = tensors[contract.GEOMETRY][i, 4:6]
            unpadded = {task: _unpadded(tensors_of) for task, tensors_of in of_image.items()}
            results.append(ImageOutputs(int(width), int(height), unpadded, cards))
        return results

    async def infer_frames(
        self, card: ModelCard, frames: Array | SharedTensor, *, class_maps: bool = False
    ) -> list[dict[str, Array]]:
        """Ask the network of this card, and no other, about fitted frames.

        Args:
            card: Of the network; its task is asked.
            frames: uint8 `(N, H, W, 3)` RGB of the size that the card states, N up to `MAX_BATCH_SIZE`.
            class_maps: Ask for `CLASS_MAP` too, a byte for each pixel of the input.

        Returns:
            One mapping a frame, in order: tensor name to tensor without batch axis; boxes are in input pixels, areas
            are of the whole input.

        Raises:
            NetworkReplaced: Another network answers its task now.
            ReeltagError: As `infer`.
        """
        task = Task(card.task)
        outputs = _wanted(task, class_maps)
        ensemble = asked_ensemble(task.frames_ensemble, card, self._models)
        tensors = await self.infer(ensemble, {contract.FRAMES: frames}, outputs, version=card.version)
        return [_unpadded({name: tensors[name][i] for name in outputs}) for i in range(frames.shape[0])]

    async def infer_cuts(self, card: ModelCard, window: Array | SharedTensor) -> Array:
        """Probability that a shot ends with each frame.

        Args:
            card: Of the shot detector; no other one answers.
            window: uint8 `(N, T, 27, 48, 3)` RGB, T being `card.shot_window`.

        Returns:
            float32 `(N, T)`.

        Raises:
            NetworkReplaced: Another shot detector answers now.
            ReeltagError: As `infer`.
        """
        wanted = {contract.FRAMES: window}
        return (await self.infer(contract.SHOTS_ENSEMBLE, wanted, [contract.CUTS], version=card.version))[contract.CUTS]


def known(name: str, networks: Mapping[str, ModelCard]) -> ModelCard:
    """Card of a network that is served by its name.

    Raises:
        UnknownModel: None is; the text names those that are.
    """
    if name not in networks:
        served = ", ".join(f"{one} ({card.task})" for one, card in sorted(networks.items())) or "none"
        raise UnknownModel(f"unknown model {name!r}; models served: {served}")
    return networks[name]


def _is_named(model: str, card: ModelCard) -> bool:
    """Whether it is an ensemble of one network by its name."""
    return "." in model and model in (
        contract.named_ensemble(base, card.network) for base in (card.task, f"{card.task}_frames")
    )


def asked_ensemble(ensemble: str, card: ModelCard, by_name: Collection[str]) -> str:
    """Name of the ensemble that is asked, where networks are asked by name."""
    return contract.named_ensemble(ensemble, card.network) if card.network in by_name else ensemble


def _wanted(task: Task, class_maps: bool) -> list[str]:
    """The outputs that are asked for: class maps are megabytes, which not everybody needs."""
    return [name for name in task.outputs if class_maps or name != contract.CLASS_MAP]


def _unpadded(tensors: dict[str, Array]) -> dict[str, Array]:
    if contract.COUNT not in tensors:
        return tensors
    count = int(tensors[contract.COUNT][0])
    return {name: value if name == contract.COUNT else value[:count] for name, value in tensors.items()}
