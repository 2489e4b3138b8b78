"""Server reflection, by both names that clients ask for: v1 and v1alpha."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from gateway.grpc.door import Context, Door
from gateway.grpc.errors import answered
from gateway.grpc.raw import parsed, serialised

V1ALPHA: Final = reflection.SERVICE_NAME
V1: Final = V1ALPHA.replace(".v1alpha.", ".v1.")
"""The same messages under a newer name, which gRPC's package for Python does not have yet."""


def reflection_handlers(names: Iterable[str], door: Door) -> list[grpc.GenericRpcHandler]:
    """Handlers that show services.

    Args:
        names: Full names of the services, besides those of reflection.
        door: Where the questions come in.
    """
    servicer: Any = ReflectionServicer((*names, V1ALPHA, V1), pool=_pool())

    async def reflect(_: object, context: Context) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        async with answered(context), door.entered(context) as reading:

            async def requests() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
                while (raw := await reading.read()) is not None:
                    yield parsed(reflection_pb2.ServerReflectionRequest, raw)

            async for answer in servicer.ServerReflectionInfo(requests(), context):
                yield answer

    method: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(reflect, None, serialised)
    return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}) for name in (V1ALPHA, V1)]


def _pool() -> descriptor_pool.DescriptorPool:
    """The descriptors of this process, with those of v1, which are those of v1alpha renamed."""
    pool: descriptor_pool.DescriptorPool = descriptor_pool.Default()  # type: ignore[no-untyped-call]  # so in the library's stubs
    file = FileDescriptorProto()
    file.ParseFromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    renamed = text_format.MessageToString(file).replace("v1alpha", "v1")
    add: Any = pool.AddSerializedFile
    add(text_format.Parse(renamed, FileDescriptorProto()).SerializeToString())
    return pool
