"""Which servers of this user run for a model repository: a file for each, so that commands find them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reeltag.places import cache_folder


def _folder() -> Path:
    return cache_folder() / "running"


@contextmanager
def announced(repository: Path, url: str) -> Iterator[None]:
    """Let commands find the embedded server at `url`, for the block; without effect where nothing can be written."""
    path: Path | None = None
    with contextlib.suppress(OSError):
        _folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=_folder(), suffix=".json", delete=False) as file:
            json.dump({"repository": str(repository.resolve()), "url": url}, file)
        path = Path(file.name)
    try:
        yield
    finally:
        if path is not None:
            path.unlink(missing_ok=True)


def servers_of(repository: Path) -> list[str]:
    """Addresses of the embedded servers that `reeltag serve` runs for a repository; forgets those that were killed."""
    found = []
    for file in sorted(_folder().glob("*.json")) if _folder().is_dir() else ():
        try:
            said = json.loads(file.read_text("utf-8"))
            url, of = str(said["url"]), str(said["repository"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written, or no file of ours
        folder = Path(url.removeprefix("unix:")).parent
        if not folder.is_dir():  # a server that is being started again has one, and no socket
            file.unlink(missing_ok=True)
        elif of == str(repository.resolve()) and os.access(folder, os.W_OK) and _listens(url):
            found.append(url)
    return found


def _listens(url: str) -> bool:
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.connect(url.removeprefix("unix:"))
        except OSError:
            return False
        return True
