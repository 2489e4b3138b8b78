"""Load on a server from this one process: closed loops of concurrent clients on loopback."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
import grpc
import numpy as np

from reeltag import contract
from reeltag.contract import Task
from reeltag.triton import TritonClient
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub

STREAM_AHEAD: Final = 4
"""Images of a stream that are in work."""
Request = Callable[[], Awaitable[int]]
"""Sends one request and gives the number of images that it was for."""


@dataclass(frozen=True)
class Loaded:
    """What a load came to."""

    images_per_second: float
    generator_cpu: float
    """Share of a core that this process took."""


async def closed_loop(request: Request, clients: int, seconds: float) -> float:
    """Images/s of `clients` that each send their next request when the last was answered."""
    return (await loaded(request, clients, seconds)).images_per_second


async def loaded(request: Request, clients: int, seconds: float) -> Loaded:
    """`closed_loop`, with what it cost here."""
    deadline = time.perf_counter() + seconds
    done = 0

    async def one_client() -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            count = await request()  # not `done += await ...`, which would read `done` before it waits
            done += count

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one_client() for _ in range(clients)))
    took = time.perf_counter() - began
    return Loaded(done / took, (time.process_time() - cpu) / took)


def ensemble_request(client: TritonClient, images: Sequence[bytes], batch: int) -> Request:
    """Requests of `batch` images to the ensemble `detect`, straight to Triton."""
    source = itertools.cycle(images)
    outputs = [contract.ERROR, contract.GEOMETRY, *Task.DETECT.outputs]

    async def request() -> int:
        data = np.array([[next(source)] for _ in range(batch)], dtype=np.object_)
        answer = await client.infer(Task.DETECT.value, {contract.IMAGE: data}, outputs)
        if any(answer[contract.ERROR].reshape(-1)):
            raise RuntimeError(f"an image was refused: {answer[contract.ERROR]}")
        return batch

    return request


def gateway_request(session: aiohttp.ClientSession, url: str, images: Sequence[bytes]) -> Request:
    """Requests of one image to the gateway."""
    source = itertools.cycle(images)

    async def request() -> int:
        async with session.post(
            f"{url}/v1/images?tasks=detect", data=next(source), headers={"Content-Type": "image/jpeg"}
        ) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the gateway answers {answer.status}: {body[:300]!r}")
        return 1

    return request


def grpc_request(channel: grpc.aio.Channel, images: Sequence[bytes]) -> Request:
    """Calls of `TagImages` with one image."""
    options = pb.TagOptions(tasks=["detect"])
    calls = [pb.TagImagesRequest(images=[pb.Image(data=image)], options=options) for image in images]
    source = itertools.cycle([call.SerializeToString() for call in calls])  # once, as requests over REST are
    tag: grpc.aio.UnaryUnaryMultiCallable[bytes, pb.TagImagesResponse] = channel.unary_unary(
        "/reeltag.v1.Tagging/TagImages", response_deserializer=pb.TagImagesResponse.FromString
    )

    async def request() -> int:
        answer = await tag(next(source), timeout=60)
        return len(answer.results)

    return request


async def grpc_streams(channel: grpc.aio.Channel, images: Sequence[bytes], streams: int, seconds: float) -> Loaded:
    """Images/s of streams that each send up to `STREAM_AHEAD` images ahead of their answers."""
    stub = TaggingStub(channel)
    source = itertools.cycle([pb.TagImageStreamRequest(image=pb.Image(data=image)) for image in images])
    began, cpu = time.perf_counter(), time.process_time()
    done = 0

    async def sent(ahead: asyncio.Semaphore) -> AsyncIterator[pb.TagImageStreamRequest]:
        first = pb.TagImageStreamRequest()
        first.CopyFrom(next(source))
        first.options.tasks.append("detect")
        await ahead.acquire()
        yield first
        while time.perf_counter() < began + seconds:
            await ahead.acquire()
            yield next(source)

    async def one_stream() -> None:
        nonlocal done
        ahead = asyncio.Semaphore(STREAM_AHEAD)
        async for answer in stub.TagImageStream(sent(ahead)):
            if answer.result.HasField("error"):
                raise RuntimeError(f"an image of a stream failed: {answer.result.error}")
            done += 1
            ahead.release()

    await asyncio.gather(*(one_stream() for _ in range(streams)))
    took = time.perf_counter() - began
    return Loaded(done / took, (time.process_time() - cpu) / took)
