"""Opens files below the operator's roots: what is looked at is what is opened, whatever happens to its path."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from reeltag.errors import SourceRefused
from vod.stores.inputs import odd_file
from vod.stores.names import shown
from vod.stores.roots import Roots

_MOST_PATH_BYTES: Final = 4095
_MOST_PARTS: Final = 256


@dataclass(frozen=True)
class Opened:
    """An open file or folder."""

    descriptor: int
    """To read from; closed by `opened`."""
    real: PurePath
    """Where it lies, without links."""
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """Otherwise it is a regular file."""
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def stamp(self) -> str:
        """Size and time of the last change; the same on every host of a shared file system."""
        return f"{self.status.st_size}:{self.status.st_mtime_ns}"


def check_path(text: str) -> None:
    """See that a text is an absolute path that leads forward only.

    Raises:
        SourceRefused: It is none.
    """
    if "\0" in text:
        raise SourceRefused(f"{shown(text)} holds a NUL byte, which no path does")
    if not PurePath(text).is_absolute():
        raise SourceRefused(f"{shown(text)} is no absolute path; give one such as /data/films/a.mp4")
    if ".." in PurePath(text).parts:
        raise SourceRefused(f"{shown(text)} leads upwards by `..`; give the path itself", "outside_roots")
    if len(os.fsencode(text)) > _MOST_PATH_BYTES:
        raise SourceRefused(f"a path has at most {_MOST_PATH_BYTES:,} bytes, not {len(text):,}")
    if len(PurePath(text).parts) > _MOST_PARTS:
        raise SourceRefused(f"{shown(text)} lies deeper than {_MOST_PARTS} folders")


@contextmanager
def opened(path: Path, roots: Roots) -> Iterator[Opened]:
    """Open a regular file or a folder; nothing else is ever opened, so that nothing waits and no device is touched.

    Args:
        path: Absolute; links in it are followed where they stay below the roots.
        roots: What may be read.

    Raises:
        SourceRefused: It is not there, not below the roots, or cannot be read.
    """
    check_path(str(path))
    place = _held(path, roots)
    try:
        # The kernel's own path of what is held, not of what the path leads to by now.
        real = str(Path(f"/proc/self/fd/{place}").readlink())
        if not roots.covers(real):
            raise _outside(path, roots)
        status = os.fstat(place)
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise SourceRefused(f"{shown(path)}: {odd_file(status.st_mode)}", "not_a_file")
        try:
            descriptor = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(path, error) from error
    finally:
        os.close(place)
    try:
        yield Opened(descriptor, PurePath(real), status)
    finally:
        os.close(descriptor)


def _held(path: Path, roots: Roots) -> int:
    """A descriptor of whatever lies at a path, through which nothing can be read yet."""
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        # Where a link leads outside, not even whether there is something is told.
        if not roots.covers(os.path.realpath(path)):
            raise _outside(path, roots) from error
        raise _unreadable(path, error) from error


def _outside(path: Path, roots: Roots) -> SourceRefused:
    return SourceRefused(f"{shown(path)} {roots.outside()}", "outside_roots")


def _unreadable(path: Path, error: OSError) -> SourceRefused:
    if isinstance(error, PermissionError):
        return SourceRefused(f"{shown(path)} cannot be read by the user that reeltag runs as", "no_permission")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return SourceRefused(f"{shown(path)} does not exist, or is a link to nothing", "not_found")
    return SourceRefused(f"{shown(path)} cannot be opened: {error.strerror}", "not_found")
