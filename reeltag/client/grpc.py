"""The gRPC interface as a client sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import grpc

from reeltag.client.grpc_jobs import GrpcJobs
from reeltag.client.images import Image, Options
from reeltag.client.results import ClassMap, ClassShare, Model, TaggedImage
from reeltag.client.retrying import refused_call
from reeltag.measured import Measured
from reeltag.tags import Detection, ImageTag
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub

_MAX_MESSAGE_BYTES: Final = 64 << 20
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),
)


class GrpcTransport:
    """Asks one gateway over gRPC.

    Args:
        target: Host and port, such as `127.0.0.1:8001`.
        headers: Sent with each call, as metadata.
        is_secure: Whether the connection is TLS.
        authorities: PEM text of those that the server is checked against, instead of the common ones.
    """

    def __init__(
        self, target: str, headers: dict[str, str], *, is_secure: bool = False, authorities: str | None = None
    ) -> None:
        if is_secure:
            credentials = grpc.ssl_channel_credentials(None if authorities is None else authorities.encode())
            self._channel = grpc.aio.secure_channel(target, credentials, _OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(target, _OPTIONS)
        self._stub = TaggingStub(self._channel)
        self._metadata = tuple((name.lower(), value) for name, value in headers.items())
        self.jobs = GrpcJobs(self._channel, self._metadata)

    async def tag(self, images: Sequence[Image], options: Options, timeout_seconds: float) -> list[TaggedImage]:
        """As `AsyncClient.tag_images`, once."""
        request = pb.TagImagesRequest(
            images=[pb.Image(name=image.name, data=image.data, url=image.url) for image in images],
            options=pb.TagOptions(
                tasks=options.tasks,
                score_threshold=options.score_threshold,
                top_k=options.top_k,
                class_map=options.class_map,
                model=",".join(options.models),
            ),
        )
        answer = await self._call(self._stub.TagImages, request, timeout_seconds, options.priority)
        return [_tagged(result) for result in answer.results]

    async def models(self, timeout_seconds: float) -> list[Model]:
        """As `AsyncClient.models`, once."""
        answer = await self._call(self._stub.ListModels, pb.ListModelsRequest(), timeout_seconds)
        return [_model(model) for model in answer.models]

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def _call(self, method: Any, request: Any, timeout_seconds: float, priority: str | None = None) -> Any:
        metadata = (*self._metadata, ("priority", priority)) if priority else self._metadata
        try:
            return await method(request, timeout=max(timeout_seconds, 0.001), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise refused_call(error) from error


def _tagged(result: pb.ImageResult) -> TaggedImage:
    return TaggedImage(
        name=result.name,
        width=result.width,
        height=result.height,
        detections=tuple(
            Detection(label=one.label, score=_decimal(one.score), box=_box(one.box)) for one in result.detections
        ),
        tags=tuple(ImageTag(label=one.label, score=_decimal(one.score), model=one.model) for one in result.tags),
        shares=tuple(ClassShare(one.label, _decimal(one.share)) for one in result.shares),
        class_map=_class_map(result.class_map) if result.HasField("class_map") else None,
        error_code=result.error.code,
        error=result.error.message,
    )


def _model(message: pb.Model) -> Model:
    return Model(
        task=message.task,
        network=message.network,
        version=message.version,
        runtime=message.runtime,
        precision=message.precision,
        height=message.height,
        width=message.width,
        labels=tuple(message.labels),
        sha256=message.sha256,
        is_default=message.is_default,
        measured=_measured(message.measured) if message.HasField("measured") else None,
    )


def _measured(message: pb.Measured) -> Measured:
    return Measured(
        accuracy=dict(message.accuracy),
        pictures=message.pictures,
        through=message.through,
        images_per_second=message.images_per_second if message.HasField("images_per_second") else None,
        machine=message.machine,
    )


def _class_map(message: pb.ClassMap) -> ClassMap:
    return ClassMap(message.png, {one.index: one.label for one in message.legend})


def _box(box: pb.Box) -> tuple[float, float, float, float]:
    return (_decimal(box.x1), _decimal(box.y1), _decimal(box.x2), _decimal(box.y2))


def _decimal(value: float) -> float:
    """A float32 as the shortest decimal number that it stands for: 0.9, not 0.8999999761581421."""
    return float(f"{value:.7g}")
