"""Is every request answered while processes of the service are killed and stopped, and how soon is all well again?

Run it with `python -m benchmarks.faults [PART OF A FAULT'S NAME]`. Clients ask over REST and gRPC without a pause. In
the middle of each fault's time one process is harmed. Right answers are 200, or 503 with Retry-After, which is
UNAVAILABLE over gRPC; 504 where the deadline ends the wait. It ends with status 1 where a bound is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import grpc
import psutil

from benchmarks import media
from benchmarks.server import Served, serving
from benchmarks.soak import shared_memory_of
from benchmarks.throughput import machine
from reeltag.v1 import tagging_pb2 as pb
from reeltag.v1.tagging_pb2_grpc import TaggingStub

if TYPE_CHECKING:
    from reeltag.v1.tagging_pb2_grpc import TaggingAsyncStub  # there for types alone

RECOVERY_SECONDS: Final = 15.0
REST_CLIENTS: Final = 4
GRPC_CLIENTS: Final = 2
_GONE_SECONDS: Final = 5.0
"""In which everything ends that a killed gateway leaves behind."""
_ANSWER_SECONDS: Final = 60.0
_REFUSED: Final = ("503", "429", "504", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
_STREAM_IMAGES: Final = 16
_BETWEEN_SECONDS: Final = 0.05
"""From a refusal to the next request: Retry-After would hide when all is well again."""


@dataclass(frozen=True)
class Fault:
    """Something that is done to a process."""

    role: str
    signal: signal.Signals

    @property
    def name(self) -> str:
        """As it is typed."""
        return f"kill -{self.signal.name.removeprefix('SIG')} of {self.role}"


_LONGEST_SECONDS: Final = 90.0
"""A server that tags nothing for so long is given up."""

FAULTS: Final = [
    Fault(role, number)
    for role in ("Triton", "Python backend nanodet_g", "Python backend decode", "Python backend nms")
    for number in (signal.SIGKILL, signal.SIGSTOP)
]


@dataclass
class Answer:
    """One request's."""

    began: float
    ended: float
    outcome: str
    """`200`, `503`, a gRPC code, or what else came of it."""

    @property
    def is_good(self) -> bool:
        """Whether it was tagged."""
        return self.outcome in ("200", "OK")


@dataclass
class Seen:
    """What the clients saw of one fault."""

    harmed: float = 0.0
    """When, on the clock of the answers."""
    answers: list[Answer] = field(default_factory=list)

    def recovery_seconds(self) -> float:
        """From the harm to the end of the last request that was not tagged."""
        bad = [one.ended for one in self.answers if not one.is_good and one.ended >= self.harmed]
        return max(bad) - self.harmed if bad else 0.0

    def is_tagging_again(self) -> bool:
        """Whether a request that began after the harm was tagged."""
        return any(one.is_good and one.began > self.harmed for one in reversed(self.answers))

    def broken(self) -> list[str]:
        """The bounds that were not kept."""
        found = [
            f"{count} x {outcome}"
            for outcome, count in Counter(one.outcome for one in self.answers).items()
            if outcome not in ("200", "OK", *_REFUSED)
        ]
        if not self.is_tagging_again():
            found.append("nothing was tagged any more")
        elif (seconds := self.recovery_seconds()) > RECOVERY_SECONDS:
            found.append(f"it took {seconds:.1f} s until all was well")
        return found


@contextlib.asynccontextmanager
async def clients(served: Served, images: Sequence[bytes], seen: Seen) -> AsyncIterator[None]:
    """Clients that ask without a pause in the block."""
    going = True

    async def ask(kind: str, index: int) -> None:
        while going:
            began = time.perf_counter()
            image = images[index % len(images)]
            index += 1
            outcome = await (_rest(session, served, image) if kind == "rest" else _unary(stub, image))
            seen.answers.append(Answer(began, time.perf_counter(), outcome))
            if outcome not in ("200", "OK"):
                await asyncio.sleep(_BETWEEN_SECONDS)

    async def stream() -> None:
        while going:
            began = time.perf_counter()
            outcomes = await _stream(stub, images[:_STREAM_IMAGES])
            seen.answers += [Answer(began, time.perf_counter(), outcome) for outcome in outcomes]
            if set(outcomes) != {"OK"}:
                await asyncio.sleep(_BETWEEN_SECONDS)

    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        grpc.aio.insecure_channel(served.grpc_target) as channel,
    ):
        stub = TaggingStub(channel)
        kinds = ["rest"] * REST_CLIENTS + ["unary"] * GRPC_CLIENTS
        tasks = [asyncio.create_task(ask(kind, i)) for i, kind in enumerate(kinds)]
        tasks.append(asyncio.create_task(stream()))
        try:
            yield
        finally:
            going = False
            await asyncio.gather(*tasks)


async def _rest(session: aiohttp.ClientSession, served: Served, image: bytes) -> str:
    try:
        async with session.post(
            f"{served.url}/v1/images?tasks=detect", data=image, headers={"Content-Type": "image/jpeg"}
        ) as answer:
            await answer.read()
            if answer.status in (429, 503) and "Retry-After" not in answer.headers:
                return f"{answer.status} without Retry-After"
            return str(answer.status)
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        return type(error).__name__


async def _unary(stub: TaggingAsyncStub, image: bytes) -> str:
    try:
        request = pb.TagImagesRequest(images=[pb.Image(data=image)], options=pb.TagOptions(tasks=["detect"]))
        await stub.TagImages(request, timeout=_ANSWER_SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def _stream(stub: TaggingAsyncStub, images: Sequence[bytes]) -> list[str]:
    """Outcomes of a stream's images; errors of its images have the codes of REST, which are brought to gRPC's."""
    options = pb.TagOptions(tasks=["detect"])
    requests = [pb.TagImageStreamRequest(image=pb.Image(data=image), options=options) for image in images]
    outcomes: list[str] = []
    try:
        async for answer in stub.TagImageStream(iter(requests), timeout=_ANSWER_SECONDS):
            code = answer.result.error.code if answer.result.HasField("error") else ""
            outcomes.append(_CODES.get(code, code))
    except grpc.aio.AioRpcError as error:
        return [*outcomes, error.code().name]
    return outcomes if len(outcomes) == len(images) else [*outcomes, "a stream lost images"]


_CODES: Final = {
    "": "OK",
    "backend_lost": "UNAVAILABLE",
    "deadline_exceeded": "DEADLINE_EXCEEDED",
    "model_unavailable": "UNAVAILABLE",
    "overloaded": "RESOURCE_EXHAUSTED",
    "triton_unavailable": "UNAVAILABLE",
}


async def run(served: Served, fault: Fault, images: Sequence[bytes], seconds: float) -> Seen:
    """Do one harm under load, a second after it began."""
    seen = Seen()
    async with clients(served, images, seen):
        await asyncio.sleep(1.0)
        victim = await asyncio.to_thread(served.process_of, fault.role)
        seen.harmed = time.perf_counter()
        victim.send_signal(fault.signal)
        await asyncio.sleep(seconds)
        while not seen.is_tagging_again() and time.perf_counter() < seen.harmed + _LONGEST_SECONDS:
            await asyncio.sleep(0.5)  # a machine that is busy with other things takes longer; how long is told
    return seen


async def kill_gateway(served: Served, images: Sequence[bytes]) -> list[str]:
    """`kill -9` of the gateway under load: what is left behind, which should be nothing."""
    everyone = list(served.processes().values())
    folders = _folders(served)
    async with clients(served, images, Seen()):
        await asyncio.sleep(1.0)
        served.process.kill()
        await asyncio.sleep(0.2)
    end = time.perf_counter() + _GONE_SECONDS
    left = ["?"]
    while left and time.perf_counter() < end:
        await asyncio.sleep(0.1)
        left = [f"process {one.pid} ({one.name()})" for one in everyone if _runs(one)]
        left += [f"/dev/shm/{name}" for name in shared_memory_of(served.process.pid)]
        left += [str(folder) for folder in folders if folder.exists()]
    return left


def _folders(served: Served) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"reeltag-triton-{served.process.pid}-*"))


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def line(name: str, seen: Seen) -> str:
    """One row of the table."""
    outcomes = Counter(one.outcome for one in seen.answers if one.ended >= seen.harmed)
    longest = max((one.ended - one.began for one in seen.answers), default=0.0)
    counted = ", ".join(f"{outcome} x {count}" for outcome, count in outcomes.most_common())
    return f"| {name} | {counted} | {longest:.1f} | {seen.recovery_seconds():.1f} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", nargs="?", default="", help="of the names of the faults that are wanted")
    parser.add_argument("--seconds", type=float, default=25.0, help="from each harm to the next")
    options = parser.parse_args(arguments)
    images = media.jpegs_720p(32)
    print(f"{machine()}\n`python -m benchmarks.faults --seconds {options.seconds:g}`\n")
    print("| fault | answers after it | longest, s | all well after, s |\n|---|---|---|---|")
    broken: list[str] = []
    with serving() as served:
        for fault in [fault for fault in FAULTS if options.part.lower() in fault.name.lower()]:
            seen = asyncio.run(run(served, fault, images, options.seconds))
            print(line(fault.name, seen), flush=True)
            broken += [f"{fault.name}: {problem}" for problem in seen.broken()]
        left = asyncio.run(kill_gateway(served, images))
    print(f"\nkill -KILL of the gateway leaves behind: {', '.join(left) or 'nothing'}.")
    broken += [f"kill -KILL of the gateway leaves {one}" for one in left]
    print("\n".join(f"BROKEN: {problem}" for problem in broken) or "Every bound was kept.")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
