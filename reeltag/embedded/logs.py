"""Logs of embedded servers: one a start, the last ones are kept."""

from __future__ import annotations

import fcntl
import os
import stat
from datetime import datetime
from pathlib import Path
from typing import Final

from reeltag.embedded.folder import unwritable
from reeltag.places import cache_folder

KEPT: Final = 10
"""Logs that are kept, those of running servers aside."""
_TAIL_BYTES: Final = 20_000
_WITHOUT_GPU: Final = ("unable to create stream", "CUDA driver version is insufficient", "NVML", "DCGM")
"""In lines that every start without a GPU logs as errors."""


def new_log() -> Path:
    """An empty log; old ones are removed.

    Raises:
        EmbeddedUnavailable: The cache folder cannot be written.
    """
    folder = cache_folder() / "logs"
    log = folder / f"triton-{datetime.now().strftime('%Y%m%d-%H%M%S-%f')}-{os.getpid()}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log.touch(mode=0o600)
    except OSError as error:
        raise unwritable(error) from error
    for old in sorted(folder.glob("triton-*.log"))[:-KEPT]:
        _remove_unless_used(old)
    return log


def _remove_unless_used(log: Path) -> None:
    """Remove a log that no server writes to: each holds a lock on its own."""
    try:
        file = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log.unlink(missing_ok=True)
    except OSError:
        return
    finally:
        os.close(file)


def errors_in(log: Path) -> str:
    """The last lines that say what went wrong, and where the log is."""
    lines = [line for line in _tail(log).splitlines() if not any(harmless in line for harmless in _WITHOUT_GPU)]
    telling = [line for line in lines if " E " in line or "error" in line.lower() or line.startswith("E")]
    return "\n".join([f"Its log is {log}; the last errors in it:", *(telling or lines)[-8:]])


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                return ""
            file.seek(max(0, status.st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
