"""The folder of one embedded server: its socket, its Python backend, and what the guard is told."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reeltag.embedded.files import TritonFiles
from reeltag.errors import EmbeddedUnavailable, ModelRepositoryError

SHM_FAMILY: Final = "reeltag_triton"
"""Names of a server's shared memory start with this and the starter's process id."""
_NAME: Final = "reeltag-triton-"
_SOCKET_PORT: Final = 1
"""Triton writes a port behind each address; behind a socket's it only becomes a part of the file's name."""
_LONGEST_SOCKET_PATH: Final = 107
"""Bytes that `sockaddr_un` has room for."""
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._~+-]+")
"""gRPC takes a socket's address as a URI, where other characters mean something."""


@dataclass(frozen=True)
class RunFolder:
    """A folder that this user alone can enter, locked for as long as the run lasts.

    Who cannot enter it cannot connect to the socket in it: that is what keeps other users of the machine, and web
    pages in its browsers, from Triton.
    """

    path: Path
    shm_prefix: str
    """The server's shared-memory objects are named after it."""
    lock: int
    """File descriptor that holds the lock; clean-up services such as systemd-tmpfiles leave locked folders alone."""

    @classmethod
    def make(cls) -> RunFolder:
        """Make one in the folder for temporary files, and remove those whose owners were killed.

        Raises:
            EmbeddedUnavailable: It cannot be written, or a socket in it could not be named.
        """
        try:
            parent = Path(tempfile.gettempdir())
            remove_abandoned(parent)
            path = Path(tempfile.mkdtemp(prefix=f"{_NAME}{os.getpid()}-"))  # of mode 0700
        except OSError as error:
            raise unwritable(error) from error
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_SH)
        folder = cls(path, f"{SHM_FAMILY}_{os.getpid()}_{secrets.token_hex(8)}_", lock)
        socket = os.fsencode(folder.socket)
        if len(socket) > _LONGEST_SOCKET_PATH or not _PLAIN_PATH.fullmatch(str(path)):
            folder.remove()
            raise EmbeddedUnavailable(
                f"a socket cannot be made in {parent}: its path has {len(socket)} bytes, at most "
                f"{_LONGEST_SOCKET_PATH} are possible, of letters, digits and /._~+-; name another folder with TMPDIR"
            )
        return folder

    @property
    def socket(self) -> Path:
        """Where the server listens, and the only place."""
        return self.path / f"grpc:{_SOCKET_PORT}"

    @property
    def url(self) -> str:
        """The socket's address, as gRPC clients take it."""
        return f"unix:{self.socket}"

    @property
    def server_options(self) -> list[str]:
        """The server's options for this address, backend folder and shared memory."""
        return [
            f"--grpc-address=unix:{self.path / 'grpc'}",
            f"--grpc-port={_SOCKET_PORT}",
            f"--backend-directory={self.path}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
        ]

    def add_backend(self, files: TritonFiles) -> None:
        """Put the Python backend in, where it is not in yet.

        Raises:
            EmbeddedUnavailable: The disk is full or cannot be written.
        """
        folder = self.path / "python"
        stub = folder / files.stub.name
        if os.access(stub, os.X_OK):
            return
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for part in files.python_backend.iterdir():
                if part.is_file():
                    (folder / part.name).symlink_to(part)
            shutil.copyfile(files.stub, stub)  # the wheel's file lacks the run bit
            stub.chmod(0o700)
        except OSError as error:
            raise unwritable(error) from error

    def models(self, repository: Path | Callable[[Path], None]) -> Path:
        """The folder with the models to serve: one that is there, or one in this folder that is filled anew.

        Raises:
            EmbeddedUnavailable: The disk is full or cannot be written, or there is nothing to serve.
        """
        if isinstance(repository, Path):
            return repository.resolve()
        own = self.path / "models"
        try:
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir()
            repository(own)
        except OSError as error:
            raise unwritable(error) from error
        except ModelRepositoryError as error:
            raise EmbeddedUnavailable(str(error)) from error
        return own

    def remove(self) -> None:
        """Remove the folder and give up the lock; once."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def remove_abandoned(parent: Path) -> None:
    """Remove the folders of runs that no process holds any longer: the starter and its guard were both killed."""
    for path in parent.glob(f"{_NAME}*-*"):
        starter = path.name.removeprefix(_NAME).partition("-")[0]
        if Path("/proc", starter).exists():  # perhaps it is about to lock it
            continue
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # another user's
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # it is in use
        finally:
            os.close(lock)


def unwritable(error: OSError) -> EmbeddedUnavailable:
    """What to say where files of ours cannot be written."""
    place = error.filename2 or error.filename or tempfile.gettempdir()
    return EmbeddedUnavailable(
        f"the embedded Triton server cannot write {place}: {error.strerror or error}; "
        "make room there, or name another folder with TMPDIR (temporary files) or XDG_CACHE_HOME (logs)"
    )
