"""A small disk that can be full for real: a file system in memory, where this user may mount one."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final

_FILLING: Final = "filling"


class Disk:
    """A folder on a disk of its own for the block of a `with`.

    Args:
        folder: Made where it is missing.
        mebibytes: Its size.

    Raises:
        PermissionError: This user may not mount anything.
    """

    def __init__(self, folder: Path, mebibytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder: Final = folder
        options = f"size={mebibytes}m,mode=0755"
        command = ["mount", "-t", "tmpfs", "-o", options, "reeltag", str(folder)]
        done = subprocess.run(command, check=False, capture_output=True)
        if done.returncode:
            raise PermissionError(f"no disk of a few MiB can be mounted: {done.stderr.decode().strip()}")

    def __enter__(self) -> Disk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)

    def fill(self) -> None:
        """Leave not a byte free."""
        with (self.folder / _FILLING).open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        with (self.folder / _FILLING).open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"0")

    def free(self) -> None:
        """Give the room back."""
        (self.folder / _FILLING).unlink(missing_ok=True)
