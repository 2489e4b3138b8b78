"""Script of the processes that decode: a nursery that holds the libraries, and the workers that it forks.

`workers.py` starts it with three arguments: the descriptor of a socket, the names of the views and the limits, both as
JSON. A worker does one picture after the other. All end when their parent does, whatever ended it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import frames
import messages
import numpy as np

CHECK_EVERY: Final = 64
"""Ordinary pictures between two looks at the memory."""

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


def nursery(control: socket.socket, views: list[frames.View], limits: messages.Limits) -> None:
    """Fork a worker, or end one, at each message, until the pool closes its end of the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)  # pictures are spread over processes
    gc.collect()
    gc.freeze()  # what is here already stays shared with the workers
    control.send(messages.READY)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, messages.MAX_BYTES, 2)
        if not message:
            return
        if descriptors:
            parent, worker = os.getpid(), os.fork()
            if not worker:
                control.close()
                _work(_Worker(socket.socket(fileno=descriptors[0]), descriptors[1], views, limits), parent)
            for descriptor in descriptors:
                os.close(descriptor)
            control.send(str(worker).encode())
        else:
            worker = int(message)
            os.kill(worker, signal.SIGKILL)  # it is there until it is waited for, be it dead
            _, status = os.waitpid(worker, 0)
            control.send(str(os.waitstatus_to_exitcode(status)).encode())


def _work(worker: _Worker, parent: int) -> None:
    """Do jobs until the pool closes its end, or too much memory is kept; never returns."""
    status = 1
    try:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError):  # where memory runs out, a worker is the least loss
            Path("/proc/self/oom_score_adj").write_text("800")
        if os.getppid() == parent:
            worker.run()
        status = 0
    finally:
        os._exit(status)


class _Worker:
    """One process: the desk that it shares with the pool, where files lie behind the views' pixels."""

    def __init__(self, pool: socket.socket, desk: int, views: list[frames.View], limits: messages.Limits) -> None:
        self.pool, self.desk, self.views, self.limits = pool, desk, views, limits
        self.statm = os.open("/proc/self/statm", os.O_RDONLY)  # to open it for each picture takes five times as long
        self.memory = mmap.mmap(desk, 0)
        self.pixels: list[frames.Pixels] = []
        self.file_at = 0
        self.own_bytes = 0
        self.done = 0
        self._lay_out()
        self.base = _resident_bytes()

    def run(self) -> None:
        """Do what the pool asks for."""
        while message := self.pool.recv(messages.MAX_BYTES):
            size, length, may_be_large, mask = messages.JOB.unpack(message)
            if size != len(self.memory):
                self.pixels = []
                self.memory.close()
                self.memory = mmap.mmap(self.desk, size)
                self._lay_out()
            wanted = [i for i in range(len(self.views)) if mask >> i & 1]
            kind, text = self._one(length, wanted, may_be_large)
            leaves = self._keeps_too_much(may_be_large)
            self.pool.send(kind + (messages.LEAVES if leaves else messages.STAYS) + text)
            if leaves:
                return

    def _lay_out(self) -> None:
        self.file_at = 0
        for view in self.views:
            shape = (view.height, view.width, 3)
            count = view.height * view.width * 3
            self.pixels.append(np.frombuffer(self.memory, np.uint8, count, self.file_at).reshape(shape))
            self.file_at += count

    def _one(self, length: int, wanted: list[int], may_be_large: bool) -> tuple[bytes, bytes]:
        """Decode one picture; the kind of the answer, and the geometry or the error."""
        limits = self.limits
        memory = limits.large_bytes if may_be_large else limits.ordinary_bytes
        signal.setitimer(signal.ITIMER_PROF, limits.large_seconds if may_be_large else limits.ordinary_seconds)
        try:
            encoded = frames.read(self.memory[self.file_at : self.file_at + length])
            if encoded.header.is_large and not may_be_large:
                return messages.TOO_LARGE, messages.MEMORY.pack(encoded.header.memory)
            with _memory_limit(self.statm, memory):
                geometry = frames.fit_views(encoded, [self.views[i] for i in wanted], [self.pixels[i] for i in wanted])
        except frames.ImageError as error:
            return messages.FAILED, f"{error.code}: {error}".encode()[: messages.MAX_BYTES - 2]
        except MemoryError:
            text = f"too_costly: decoding takes more than {memory >> 20} MiB of memory; scale the image down"
            return messages.FAILED, text.encode()
        except Exception as error:
            return messages.FAILED, f"internal: decoding failed ({error!r})".encode()[: messages.MAX_BYTES - 2]
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        return messages.DONE, b"".join(of_view.to_array().tobytes() for of_view in geometry)

    def _keeps_too_much(self, was_large: bool) -> bool:
        self.done += 1
        if not was_large and self.done % CHECK_EVERY:
            return False
        _LIBC.malloc_trim(0)
        return _resident_bytes() > self.base + self.limits.kept_bytes


@contextlib.contextmanager
def _memory_limit(statm: int, count: int) -> Iterator[None]:
    """Let this process, whose memory a file tells, map so many bytes more than it does."""
    pages = int(os.pread(statm, 256, 0).split()[0])
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * mmap.PAGESIZE + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _resident_bytes() -> int:
    """Of memory that is this process's own."""
    _, resident, shared = Path("/proc/self/statm").read_text().split()[:3]
    return (int(resident) - int(shared)) * mmap.PAGESIZE


if __name__ == "__main__":
    nursery(
        socket.socket(fileno=int(sys.argv[1])),
        [frames.View.parse(name) for name in json.loads(sys.argv[2])],
        messages.Limits(**json.loads(sys.argv[3])),
    )
