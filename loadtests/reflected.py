"""A gRPC client made from what the server says of itself: no generated code, so that it tests the interface alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE: Final = "reeltag.v1.Tagging"
_OPTIONS: Final = (("grpc.max_receive_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1))


class Reflected:
    """Calls of `reeltag.v1.Tagging` on a connection of its own.

    Args:
        target: Host and port.
        metadata: Sent with each call.
    """

    def __init__(self, target: str, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self._channel = grpc.insecure_channel(target, _OPTIONS)
        self._metadata = metadata
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self._channel))
        methods = pool.FindServiceByName(SERVICE).methods_by_name
        self._tag = self._method(self._channel.unary_unary, methods["TagImages"])
        self._stream = self._method(self._channel.stream_stream, methods["TagImageStream"])
        self._request = GetMessageClass(methods["TagImages"].input_type)
        self._stream_request = GetMessageClass(methods["TagImageStream"].input_type)

    def tag(self, images: list[tuple[str, bytes]], timeout_seconds: float) -> list[Any]:
        """Results of one call for several images."""
        request: Any = self._request()
        request.options.tasks.append("detect")
        for name, data in images:
            request.images.add(name=name, data=data)
        return list(self._tag(request, timeout=timeout_seconds, metadata=self._metadata).results)

    def stream(self, images: Iterator[tuple[str, bytes]], timeout_seconds: float) -> Iterator[Any]:
        """Results of a stream, in order."""

        def requests() -> Iterator[Any]:
            for name, data in images:
                request: Any = self._stream_request()
                request.options.tasks.append("detect")
                request.image.name, request.image.data = name, data
                yield request

        for answer in self._stream(requests(), timeout=timeout_seconds, metadata=self._metadata):
            yield answer.result

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    @staticmethod
    def _method(kind: Any, method: Any) -> Any:
        return kind(
            f"/{SERVICE}/{method.name}",
            request_serializer=GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
