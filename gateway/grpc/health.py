"""`grpc.health.v1`: whether images can be tagged.

The servicer that comes with gRPC waits for a slow watcher before it tells the others anything, and forgets watchers of
a name when one of them leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2 as pb

from gateway.grpc.door import Context, Door
from gateway.grpc.errors import answered
from gateway.grpc.raw import parsed, serialised
from reeltag.errors import Overloaded, ReeltagError

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Health"].full_name
MAX_WATCHERS: Final = 64
LOOK_SECONDS: Final = 1.0
"""Between two looks for those who watch."""


class Health:
    """Tells the state of services, which is one and the same.

    Args:
        names: Of the services.
        door: Where the questions come in.
        check_ready: Raises a `ReeltagError` where images cannot be tagged now. It is called when somebody asks, and
            while somebody watches: to find out takes work from those whose images are to be tagged.
    """

    def __init__(self, names: Iterable[str], door: Door, check_ready: Callable[[], Awaitable[None]]) -> None:
        self._names = frozenset(names)
        self._door = door
        self._check_ready = check_ready
        self._is_serving = False
        self._watchers = 0
        self._changed = asyncio.Event()

    def set(self, is_serving: bool) -> None:
        """Tell a new state, where it is one."""
        if is_serving is not self._is_serving:
            self._is_serving = is_serving
            self._changed.set()
            self._changed = asyncio.Event()

    async def watch(self) -> None:
        """Look what the state is, again and again, while somebody watches it."""
        while True:
            if self._watchers:
                await self._look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        try:
            await self._check_ready()
            self.set(True)
        except ReeltagError:
            self.set(False)

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server takes."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check, None, serialised),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, None, serialised),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    async def _check(self, _: object, context: Context) -> pb.HealthCheckResponse:
        name = await self._asked(context)
        await self._look()
        status = self._status(name)
        if status == pb.HealthCheckResponse.SERVICE_UNKNOWN:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"known services: {', '.join(sorted(filter(None, self._names)))}"
            )
        return pb.HealthCheckResponse(status=status)

    async def _watch(self, _: object, context: Context) -> None:
        name = await self._asked(context)
        async with answered(context):
            if self._watchers >= MAX_WATCHERS:
                raise Overloaded(f"{MAX_WATCHERS} watch already; ask with Check")
            self._watchers += 1
            try:
                told = None
                await self._look()
                while True:
                    changed, status = self._changed, self._status(name)
                    if status != told:
                        await context.write(pb.HealthCheckResponse(status=status))
                    told = status
                    await changed.wait()
            finally:
                self._watchers -= 1

    async def _asked(self, context: Context) -> str:
        async with answered(context), self._door.entered(context) as reading:
            return parsed(pb.HealthCheckRequest, await reading.read()).service
        raise AssertionError("`answered` ends the call")

    def _status(self, name: str) -> int:
        if name not in self._names:
            return pb.HealthCheckResponse.SERVICE_UNKNOWN
        return pb.HealthCheckResponse.SERVING if self._is_serving else pb.HealthCheckResponse.NOT_SERVING
