"""Triton's gRPC interface: inferences, and the control of a server; every tritonclient error is translated here."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import grpc
import tritonclient.grpc as tritonclient_grpc
import tritonclient.grpc.aio as tritonclient_aio
from tritonclient.utils import InferenceServerException

from reeltag import calls
from reeltag.errors import DeadlineExceeded, ModelUnavailable, NetworkReplaced, ReeltagError, TritonUnavailable
from reeltag.statistics import ModelStatistics
from reeltag.triton_errors import meaning_of
from reeltag.triton_messages import METHOD, Array, SharedTensor, answer_of, answer_tensors, request_message
from reeltag.trust import Trust

if TYPE_CHECKING:
    from typing_extensions import Self

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


class TritonConnection:
    """A Triton server, whatever it serves.

    Safe to use from many tasks of one event loop. Open it with `async with`, or call `close`.

    Args:
        url: Host and port of Triton's gRPC endpoint, such as `127.0.0.1:8001`, or `unix:` and the path of its socket.
        timeout_seconds: Longest wait for one answer.
        secret: What the server wants to be told before it lets anybody use its restricted protocols, where it was
            started with `--grpc-restricted-protocol=...:reeltag=SECRET`.
        on_lost: Called with the reason when a backend was lost, which takes a new start of the server.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 60.0,
        secret: str | None = None,
        on_lost: Callable[[str], None] | None = None,
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
        self._trust = Trust(self.url, on_lost)

    async def __aenter__(self) -> Self:
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
        """Raise `NetworkReplaced` where another version of a model that is away answers."""
        ready = [entry.version for entry in await self.index() if entry.name == model and entry.state == "READY"]
        if ready and version not in ready:
            text = f"serves version {ready[0]} of {model!r} and no longer {version}; ask again"
            raise NetworkReplaced(f"Triton at {self.url} {text}").told_as(f"Triton {text}") from error

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

    async def config(self, model: str, version: str = "") -> Any:
        """Configuration of a version of a model, or of the newest ready one, Triton's `ModelConfig`."""
        async with self._translated():
            answer = await self._client.get_model_config(model, version, client_timeout=self.timeout_seconds)
        return answer.config

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
