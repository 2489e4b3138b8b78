"""The processes that decode, as the process sees them that hands out the work."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import mmap
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import messages
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""uint8 `(H, W, 3)` RGB."""
Shape = tuple[int, int, int]

KEPT_DESK_BYTES: Final = 2 << 20
"""Of files, that a desk keeps room for; what a larger file took is given back."""
_START_SECONDS: Final = 60.0
_CONTROL_SECONDS: Final = 5.0
"""Longest wait for the nursery to fork or to end a worker."""


class Nursery:
    """The process that forks the workers; it holds the libraries, so that a fork takes milliseconds.

    Args:
        view_names: The views, as `frames.View.name` has them.
        limits: Of each picture.

    Raises:
        RuntimeError: It did not start; its own words are in Triton's log.
    """

    def __init__(self, view_names: Sequence[str], limits: messages.Limits) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        script = Path(__file__).parent / "worker.py"
        # Python is embedded here, and may not know its own program; a worker needs the packages that are found here.
        is_program = Path(sys.executable or "").name.startswith("python")
        python = sys.executable if is_program else shutil.which("python3") or "python3"
        packages = os.pathsep.join(filter(None, sys.path))
        single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
        told = json.dumps(list(view_names)), json.dumps(dataclasses.asdict(limits))
        with theirs:
            self._process = subprocess.Popen(
                [python, str(script), str(theirs.fileno()), *told],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **single, "PYTHONPATH": packages},
            )
        self._control.settimeout(_START_SECONDS)
        if self._said() != messages.READY:
            self.close()
            raise RuntimeError(f"the decoding processes did not start ({python} {script})")
        self._control.settimeout(_CONTROL_SECONDS)

    def fork(self, theirs: socket.socket, desk: int) -> int:
        """Fork a worker and give it its end of a socket, and its desk.

        Returns:
            Its process id.

        Raises:
            RuntimeError: The nursery is gone.
        """
        with contextlib.suppress(OSError):
            socket.send_fds(self._control, [b"fork"], [theirs.fileno(), desk])
        answer = self._said()
        if not answer:
            self.close()
            raise RuntimeError("the process that forks the workers is gone")
        return int(answer)

    def end(self, worker: int) -> int | None:
        """Kill a worker that may have ended by itself; its exit status, negative for a signal, if it is known."""
        with contextlib.suppress(OSError):
            self._control.send(str(worker).encode())
        answer = self._said()
        if not answer:  # without it, its workers die
            self.close()
            return None
        return int(answer)

    def close(self) -> None:
        """End it, and with it all its workers."""
        self._control.close()
        self._process.kill()
        self._process.wait()

    def _said(self) -> bytes:
        try:
            return self._control.recv(messages.MAX_BYTES)
        except OSError:  # it was silent for too long, or is gone
            return b""


class Worker:
    """One process that decodes, and the desk that is shared with it: pixels of each view, then a file.

    Args:
        nursery: Forks it.
        shapes: `(H, W, 3)` of each view.

    Raises:
        RuntimeError: The nursery is gone.
        OSError: There is no memory for the desk, or there are no descriptors.
    """

    def __init__(self, nursery: Nursery, shapes: Sequence[Shape]) -> None:
        self._nursery = nursery
        self._shapes = shapes
        self._file_at = sum(math.prod(shape) for shape in shapes)
        self.pixels: list[Pixels] = []
        """What it left on its desk for each view; overwritten by its next job."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self._socket.close)
            # Anonymous memory has no name that others could open, and is gone with the last process that has it.
            self._desk = os.memfd_create("reeltag-decode")
            undo.callback(os.close, self._desk)
            self._memory = self._mapped(self._file_at + KEPT_DESK_BYTES)
            self._process = nursery.fork(theirs, self._desk)
            undo.pop_all()

    def fileno(self) -> int:
        """Readable when it has answered, or is gone."""
        return self._socket.fileno()

    def start(self, file: bytes, views: Sequence[int], *, may_be_large: bool) -> None:
        """Let it decode a file into the views of these numbers."""
        size = self._file_at + max(KEPT_DESK_BYTES, len(file))
        if size != len(self._memory):
            self._memory = self._mapped(size)
        self._memory[self._file_at : self._file_at + len(file)] = file
        mask = sum(1 << view for view in views)
        with contextlib.suppress(OSError):  # if it is gone, its socket will say so
            self._socket.send(messages.JOB.pack(len(self._memory), len(file), may_be_large, mask))

    def answer(self) -> bytes:
        """What it answered; empty where it is gone."""
        try:
            return self._socket.recv(messages.MAX_BYTES)
        except OSError:
            return b""

    def end(self) -> int | None:
        """Kill it, if it has not ended by itself; its exit status, negative for a signal, if it is known."""
        self._socket.close()
        os.close(self._desk)
        return self._nursery.end(self._process)

    def _mapped(self, size: int) -> mmap.mmap:
        """The desk at another size; the room is taken now, as memory that is missing later would kill its user."""
        os.ftruncate(self._desk, size)
        os.posix_fallocate(self._desk, 0, size)
        memory = mmap.mmap(self._desk, size)
        self.pixels, start = [], 0
        for shape in self._shapes:
            count = math.prod(shape)
            self.pixels.append(np.frombuffer(memory, np.uint8, count, start).reshape(shape))
            start += count
        return memory
