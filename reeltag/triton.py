"""The contract of `reeltag.contract` spoken over gRPC; every tritonclient error is translated here."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TypeVar

import grpc
import numpy as np
import tritonclient.grpc as tritonclient_grpc
import tritonclient.grpc.aio as tritonclient_aio
from tritonclient.utils import InferenceServerException

from reeltag import calls, contract
from reeltag.contract import ModelCard, Task
from reeltag.errors import (
    DeadlineExceeded,
    ImageRejected,
    InvalidOption,
    ModelUnavailable,
    NetworkReplaced,
    ReeltagError,
    TritonUnavailable,
    UnknownModel,
)
from reeltag.statistics import ModelStatistics
from reeltag.triton_errors import meaning_of
from reeltag.triton_messages import METHOD, Array, SharedTensor, answer_of, answer_tensors, request_message
from reeltag.trust import Trust

model_config_pb2: Final = tritonclient_grpc.model_config_pb2
"""Triton's own messages of `config.pbtxt`."""

RESTRICTION_HEADER: Final = "triton-grpc-protocol-reeltag"
"""Header that Triton compares with SECRET where a protocol is restricted with `reeltag=SECRET`."""
_MAX_MESSAGE_BYTES: Final = 2**31 - 1
_CHANNEL_OPTIONS: Final = (
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),  # Triton is near; a proxy of the environment would not reach it
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A connection that leads nowhere any more is left; more often, and Triton's defaults would call it too often.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
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


@dataclass(frozen=True)
class IndexEntry:
    """One version of a model, as the server lists it."""

    name: str
    version: str
    state: str
    """`READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`."""
    reason: str
    """Why it is not ready, in Triton's words."""


class _Secret(tritonclient_grpc.InferenceServerClientPlugin):  # type: ignore[misc]  # the library has no types
    """Adds to each call the header that opens restricted protocols."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(self, request: Any) -> None:
        request.headers[RESTRICTION_HEADER] = self._secret


class TritonClient:
    """Asks a Triton server for the ensembles of the contract.

    Safe to use from many tasks of one event loop. Open it with `async with`, or call `close`.

    Args:
        url: Host and port of Triton's gRPC endpoint, such as `127.0.0.1:8001`, or `unix:` and the path of its socket.
        timeout_seconds: Longest wait for one answer.
        secret: What the server wants to be told before it lets anybody use its restricted protocols, where it was
            started with `--grpc-restricted-protocol=...:reeltag=SECRET`.
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
        self.url = url.removeprefix("grpc://")
        self.timeout_seconds = timeout_seconds
        self._client = tritonclient_aio.InferenceServerClient(self.url, channel_args=_CHANNEL_OPTIONS)
        if secret is not None:
            self._client.register_plugin(_Secret(secret))
        self._metadata = () if secret is None else ((RESTRICTION_HEADER, secret),)
        self._channel = grpc.aio.insecure_channel(self.url, _CHANNEL_OPTIONS)
        """Of inferences; it shares the connection of the other."""
        self._infer: grpc.aio.UnaryUnaryMultiCallable[bytes, Any] = self._channel.unary_unary(
            METHOD, response_deserializer=answer_of
        )
        self._models = tuple(models)
        self._cards: dict[str, ModelCard] | None = None
        """Of every ready model that carries one, by its name."""
        self._trust = Trust(self.url, on_lost)

    async def __aenter__(self) -> TritonClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel."""
        self._trust.close()
        await self._channel.close()
        await self._client.close()

    async def is_ready(self) -> bool:
        """Whether the server answers and every model that it was told to load is loaded."""
        try:
            async with self._translated():
                return bool(await self._client.is_server_ready(client_timeout=2.0))
        except ReeltagError:
            return False

    async def server_version(self) -> str:
        """Triton's version, such as `2.51.0`."""
        async with self._translated():
            return str((await self._client.get_server_metadata(client_timeout=self.timeout_seconds)).version)

    async def index(self) -> list[IndexEntry]:
        """Every version of every model that the server was told to load, those that it lost or replaced among them."""
        async with self._translated():
            index = await self._client.get_model_repository_index(client_timeout=self.timeout_seconds)
        return [IndexEntry(one.name, one.version, one.state, one.reason) for one in index.models if one.state]

    async def served(self) -> dict[str, str]:
        """State by name of every model that the server was told to load: `READY` where a version of it is."""
        entries = sorted(await self.index(), key=lambda entry: entry.state == "READY")
        return {entry.name: entry.state for entry in entries}

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
            configs = await asyncio.gather(*(self._config(entry) for entry in ready), return_exceptions=True)
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

    async def _config(self, entry: IndexEntry) -> Any:
        async with self._translated():
            answer = await self._client.get_model_config(entry.name, entry.version, client_timeout=self.timeout_seconds)
        return answer.config

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

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Array | SharedTensor],
        outputs: Sequence[str],
        *,
        version: str = "",
        timeout_seconds: float | None = None,
    ) -> dict[str, Array]:
        """Run one model; the request carries the id and the headers of the current `reeltag.calls.Call`.

        Args:
            model: Name of a model or ensemble.
            inputs: Tensors with their batch axis, by name; BYTES as object arrays of `bytes`.
            outputs: Names of the wanted tensors.
            version: That must answer; the newest without it.
            timeout_seconds: Longest wait, where that is less than the client's; the models are told it, too.

        Returns:
            The wanted tensors with their batch axis.

        Raises:
            TritonUnavailable: The server cannot be reached.
            BackendLost: One of its backends died, or its answer may be another request's.
            ModelUnavailable: It does not serve the model.
            NetworkReplaced: It serves another version of the model than the one that must answer.
            DeadlineExceeded: No answer within the time limit.
            SetupError: It wants a secret.
            ReeltagError: The model failed; the text is Triton's.
        """
        seconds = self.timeout_seconds if timeout_seconds is None else min(self.timeout_seconds, timeout_seconds)
        if seconds <= 0:
            raise DeadlineExceeded(f"no time was left to ask Triton at {self.url}")
        call = calls.current()
        try:
            async with self._trust.of_answer(), self._translated():
                message = request_message(
                    model,
                    inputs,
                    outputs,
                    version=version,
                    request_id=call.request_id,
                    timeout_microseconds=max(1, int(seconds * 1e6)),  # they end what nobody waits for any more
                )
                metadata = (*call.headers.items(), *self._metadata)
                answer = await self._infer(message, timeout=seconds, metadata=metadata)
        except ModelUnavailable as error:
            if version:
                await self._check_not_replaced(model, version, error)
            raise
        return answer_tensors(answer)

    async def _check_not_replaced(self, model: str, version: str, error: ModelUnavailable) -> None:
        ready = [entry.version for entry in await self.index() if entry.name == model and entry.state == "READY"]
        if ready and version not in ready:
            self.forget_cards()
            text = f"serves version {ready[0]} of {model!r} and no longer {version}; ask again"
            raise NetworkReplaced(f"Triton at {self.url} {text}").told_as(f"Triton {text}") from error

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

    async def register_shared_memory(self, region: str, key: str, byte_size: int) -> None:
        """Let the server read a POSIX shared-memory object; works only on the server's own host.

        Args:
            region: Name to register.
            key: Name of the object as `shm_open` takes it, such as `/reeltag_1`.
            byte_size: Its size.

        Raises:
            ReeltagError: The server cannot open it: it runs on another host or in a container of its own.
        """
        async with self._translated():
            await self._client.register_system_shared_memory(
                region, key, byte_size, client_timeout=self.timeout_seconds
            )

    async def unregister_shared_memory(self, region: str) -> None:
        """Make the server let go of a region; does nothing where it is not registered."""
        async with self._translated():
            await self._client.unregister_system_shared_memory(region, client_timeout=self.timeout_seconds)

    async def register_gpu_memory(self, region: str, handle: bytes, number: int, byte_size: int) -> None:
        """Let the server read memory of a GPU; works only on the server's own host.

        Args:
            region: Name to register.
            handle: The memory's `CUipcMemHandle`, 64 bytes.
            number: Of the GPU, as the server counts them.
            byte_size: Of the memory.

        Raises:
            ReeltagError: The server cannot open it: it runs elsewhere, or sees no GPU.
        """
        encoded = base64.b64encode(handle)
        async with self._translated():
            await self._client.register_cuda_shared_memory(
                region, encoded, number, byte_size, client_timeout=self.timeout_seconds
            )

    async def unregister_gpu_memory(self, region: str) -> None:
        """Make the server let go of such a region; does nothing where it is not registered."""
        async with self._translated():
            await self._client.unregister_cuda_shared_memory(region, client_timeout=self.timeout_seconds)

    async def load(self, model: str) -> None:
        """Load a model of the server's repository as it now is, and what it needs; the one before answers until then.

        Raises:
            SetupError: The server was not started with `--model-control-mode=explicit`.
            ReeltagError: It cannot be loaded; the text is Triton's.
        """
        async with self._translated():
            await self._client.load_model(model, client_timeout=self.timeout_seconds)

    async def unload(self, model: str) -> None:
        """Unload a model once its requests are answered; raises as `load`."""
        async with self._translated():
            await self._client.unload_model(model, client_timeout=self.timeout_seconds)

    async def config(self, model: str) -> Any:
        """Configuration of the newest ready version of a model, Triton's `ModelConfig`."""
        async with self._translated():
            return (await self._client.get_model_config(model, client_timeout=self.timeout_seconds)).config

    async def statistics(self) -> dict[str, Any]:
        """Triton's own statistics of every model: `{"model_stats": [{"name", "inference_stats", ...}]}`."""
        async with self._translated():
            statistics = await self._client.get_inference_statistics(as_json=True, client_timeout=self.timeout_seconds)
        return dict(statistics) if not isinstance(statistics, str) else dict(json.loads(statistics))

    async def model_statistics(self, *, timeout_seconds: float) -> list[ModelStatistics]:
        """The same as objects, those of every version of every loaded model and ensemble."""
        async with self._translated():
            statistics = await self._client.get_inference_statistics(client_timeout=timeout_seconds)
        return [ModelStatistics.of(message, self.url) for message in statistics.model_stats]

    @asynccontextmanager
    async def _translated(self) -> AsyncIterator[None]:
        try:
            yield
        except InferenceServerException as error:
            raise meaning_of(str(error.status() or ""), str(error.message() or ""), self.url) from error
        except grpc.aio.AioRpcError as error:
            raise meaning_of(str(error.code()), error.details() or "", self.url) from error
        except grpc.aio.UsageError as error:  # the channel was closed under us
            text = f"the connection to Triton at {self.url} is closed"
            raise TritonUnavailable(text).told_as("the connection to Triton is closed") from error


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
