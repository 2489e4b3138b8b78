"""Load on a server from this one process: closed loops of concurrent clients on loopback."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import numpy as np

from reeltag import contract
from reeltag.contract import Task
from reeltag.triton import TritonClient

Request = Callable[[], Awaitable[int]]
"""Sends one request and gives the number of images that it was for."""


async def closed_loop(request: Request, clients: int, seconds: float) -> float:
    """Images/s of `clients` that each send their next request when the last was answered."""
    deadline = time.perf_counter() + seconds
    done = 0

    async def one_client() -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            count = await request()  # not `done += await ...`, which would read `done` before it waits
            done += count

    began = time.perf_counter()
    await asyncio.gather(*(one_client() for _ in range(clients)))
    return done / (time.perf_counter() - began)


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
