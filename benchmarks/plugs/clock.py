"""A clock that can be set while processes go by it: a small library before that of C, built where there is a compiler.

Debian's libfaketime 0.9.10 does not do: with it Python's `time.sleep` fails, or sleeps for an hour.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

_SOURCE: Final = Path(__file__).with_name("clock.c")


class Clock:
    """The clock of what is started with its environment; without a compiler it is that of the machine.

    Args:
        folder: For the library, and for the file that says how far the clock is off.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "clock"
        self._path.write_bytes(bytes(8))
        self._library = folder / "clock.so"
        compiler = shutil.which("cc")
        self.can_be_set: Final = compiler is not None
        if compiler is not None:
            command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(self._library), str(_SOURCE)]
            subprocess.run(command, check=True)

    def environment(self) -> dict[str, str]:
        """Of processes that go by it; durations stay right, as they do when a machine's clock is set."""
        if not self.can_be_set:
            return {}
        return {"LD_PRELOAD": str(self._library), "PLUGS_CLOCK": str(self._path)}

    def set(self, seconds: int) -> None:
        """Let it be so many seconds fast, or slow."""
        with self._path.open("r+b") as file:
            file.write(struct.pack("=q", seconds))
