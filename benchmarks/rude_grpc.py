"""Is everybody else served while gRPC clients are rude, and what memory does it cost?

Run it with `python -m benchmarks.rude_grpc`. During each attack `/healthz` and the tags of a photograph are asked for
as in `benchmarks.hostile`, on new connections. It ends with status 1 where a bound is broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import multiprocessing
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import grpc

from benchmarks import media
from benchmarks.damaged_messages import mutated_requests
from benchmarks.hostile import MEMORY_MIB, watch
from benchmarks.http2 import RST_STREAM, TAG_IMAGE_STREAM, TAG_IMAGES, Connection, frame, message
from benchmarks.rude import bound
from benchmarks.server import Served, serving
from benchmarks.throughput import machine
from gateway.grpc.calls import MAX_CALLS
from gateway.grpc.server import MAX_MESSAGE_BYTES, WINDOW_BYTES, doors
from gateway.grpc.service import MAX_STREAMS
from gateway.wire.descriptors import room_for
from reeltag.settings import Settings

SECONDS: Final = 8.0
"""How long an attack lasts."""
HEALTH: Final = b"/grpc.health.v1.Health/Check"
Attack = Callable[[int], None]


def large_calls(port: int) -> None:
    """Send 256 calls of 63 MiB, and never the last byte."""
    fill(port, 16, 16, TAG_IMAGES)


def large_streams(port: int) -> None:
    """Send 64 streams' first messages of 63 MiB."""
    fill(port, 8, 8, TAG_IMAGE_STREAM)


def large_checks(port: int) -> None:
    """Ask for health in messages of 63 MiB."""
    fill(port, 8, 8, HEALTH)


def fill(port: int, connections: int, calls: int, path: bytes) -> None:
    """Send as much of large messages as the other side lets in."""
    size = MAX_MESSAGE_BYTES - (1 << 20)
    with contextlib.ExitStack() as stack:
        open_ = [stack.enter_context(Connection(port)) for _ in range(connections)]
        left = dict.fromkeys(itertools.product(range(connections), range(1, 2 * calls, 2)), size)
        for index, number in left:
            open_[index].call(number, path)
            open_[index].data(number, message(b"", size + 1))
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for connection in open_:
                for _ in connection.frames(0.002):
                    pass
            for (index, number), rest in left.items():
                some = min(rest, open_[index].room(number), 1 << 20)
                if some:
                    open_[index].data(number, bytes(some))
                    left[index, number] -= some


def half_open(port: int) -> None:
    """Begin calls and say nothing."""
    with contextlib.ExitStack() as stack:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            connection = stack.enter_context(Connection(port))
            for number in range(1, 64, 2):
                connection.call(number, TAG_IMAGES)
            time.sleep(0.2)


def resets(port: int) -> None:
    """Begin calls and reset them at once."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with Connection(port) as connection:
            for number in range(1, 4001, 2):
                connection.call(number, TAG_IMAGES)
                connection.send(frame(RST_STREAM, 0, number, b"\0\0\0\x08"))


def deaf(port: int) -> None:
    """Ask for health and models and take no answer."""
    with contextlib.ExitStack() as stack:
        for path in (HEALTH, b"/grpc.health.v1.Health/Watch", b"/reeltag.v1.Tagging/ListModels"):
            connection = stack.enter_context(Connection(port, 0))
            for number in range(1, 129, 2):
                connection.call(number, path)
                connection.data(number, message(b""), 1)
        time.sleep(SECONDS)


def bombs(port: int) -> None:
    """Send compressed messages of 300 MiB."""
    bomb = gzip.compress(bytes(300 << 20), 1)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with Connection(port) as connection:
            for _ in connection.frames(0.05):
                pass
            connection.call(1, TAG_IMAGES, (b"grpc-encoding", b"gzip"))
            rest = b"\1" + message(bomb)[1:]
            while rest and not connection.is_closed and time.monotonic() < end:
                some = connection.room(1)
                connection.data(1, rest[:some])
                rest = rest[some:]
                for _ in connection.frames(0.01):
                    pass


def damaged(port: int) -> None:
    """Send 5,000 damaged messages."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask: Any = channel.unary_unary("/reeltag.v1.Tagging/TagImages")
        requests = mutated_requests(media.jpegs_720p(1)[0], 5000)
        while some := list(itertools.islice(requests, 16)):
            for call in [ask.future(request, timeout=30) for request in some]:
                if call.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
                    raise RuntimeError(f"a damaged message was answered {call.code()}: {call.details()}")


def foreign_names(port: int) -> None:
    """Call methods whose names are not UTF-8."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError), Connection(port) as connection:
            connection.call(1, b"/\xff\xfe")
            connection.status(1, 0.5)


ATTACKS: Final[tuple[Attack, ...]] = (
    *(large_calls, large_streams, large_checks, half_open, resets, deaf, bombs, damaged, foreign_names),
)


def grpc_bound(settings: Settings) -> float:
    """Of the gateway's memory with what gRPC adds to it, MiB, as docs/operating.md states it."""
    calls, _ = doors(settings)
    messages = calls.places + MAX_STREAMS + 8
    return bound(settings) + (messages * MAX_MESSAGE_BYTES + MAX_CALLS * WINDOW_BYTES) / 2**20


def attack(index: int, port: int) -> None:
    """Be rude in one way, from a process of its own."""
    room_for(2000, 0)  # so many files it may have open
    ATTACKS[index](port)


def run(served: Served, port: int, index: int, image: bytes) -> list[str]:
    """One attack; prints its line and gives the bounds that were broken."""
    attacker = multiprocessing.get_context("spawn").Process(target=attack, args=(index, port))
    attacker.start()
    with contextlib.ExitStack() as stack:
        stack.callback(attacker.kill)
        seen = asyncio.run(watch(served, image, attacker, newcomers=True))
    attacker.join(5)
    time.sleep(3)
    after = next(mebibytes for role, mebibytes in served.memory().items() if role.startswith("gateway"))
    name = (ATTACKS[index].__doc__ or "").rstrip(".")
    peak = seen.mebibytes["gateway"]
    times = f"{seen.health_seconds:.2f} | {seen.innocent_seconds:.1f} | {seen.innocents[200]} | {seen.told_to_wait}"
    print(f"| {name} | {times} | {peak:.0f} | {after:.0f} |", flush=True)
    broken = seen.broken({**MEMORY_MIB, "gateway": grpc_bound(Settings())})
    broken += ["the attack failed: see above"] if attacker.exitcode == 1 else []
    return [f"{name}: {problem}" for problem in broken]


def main() -> None:
    """Print the table as Markdown."""
    image = media.jpegs_720p(1)[0]
    print(f"{machine()}\n`python -m benchmarks.rude_grpc`; the gateway may hold {grpc_bound(Settings()):.0f} MiB\n")
    print(
        "| attack | /healthz, s | innocent, s | answered | told to wait | gateway, MiB | 3 s later, MiB |\n"
        "|---|---|---|---|---|---|---|"
    )
    with serving() as served:
        port = int(served.grpc_target.rpartition(":")[2])
        broken = [problem for index in range(len(ATTACKS)) for problem in run(served, port, index, image)]
    print("\n" + ("\n".join(f"BROKEN: {problem}" for problem in broken) or "Every bound was kept."))
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
