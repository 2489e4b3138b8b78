"""Tells the guard of an embedded server which backends may end, because their models are exchanged or unloaded."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reeltag.embedded import guard
from reeltag.errors import TritonUnavailable

MODELS: Final = "models"
"""In the server's folder: the repository that it reads."""
UNLOADED: Final = "unloaded"
"""File in the server's folder with the names of networks, one a line, that it is not to serve."""
_NOTICED_SECONDS: Final = 2.5 * guard.LOOK_SECONDS
"""After so long the guard has seen what became of the backends."""


def folder_of(url: str) -> Path | None:
    """Folder of the embedded server at this address; None where another server is."""
    folder = Path(url.removeprefix("unix:")).parent
    return folder if url.startswith("unix:") and (folder / guard.PULSE).is_file() else None


@contextmanager
def changing(folder: Path) -> Iterator[Path]:
    """Alone change what the server loads, for the block; yields a file for the names of those whose backends may end.

    Raises:
        TritonUnavailable: The server is gone.
    """
    path = folder / guard.CHANGING
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TritonUnavailable(f"the server in {folder} is gone") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.ftruncate(file, 0)
        try:
            yield path
        finally:
            time.sleep(_NOTICED_SECONDS)
    finally:
        os.close(file)


def retire(folder: Path, gone: Iterable[str], served: Iterable[str]) -> None:
    """Tell the guard which models are unloaded, beside those that were before, and which are served."""
    path = folder / guard.RETIRED
    names = {*guard.lines_of(path), *gone} - {"", *served}
    path.write_text("\n".join(sorted(names)), "utf-8")


def unloaded_in(folder: Path) -> Sequence[str]:
    """Names of the networks that the server with this folder is not to serve."""
    try:
        return (folder / UNLOADED).read_text("utf-8").split()
    except OSError:
        return ()
