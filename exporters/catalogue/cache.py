"""What is fetched is kept in the user's cache under its hash, whole or not at all.

Needs only the standard library, because `packages` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from exporters.files import sha256_of
from reeltag.errors import SetupError
from reeltag.places import cache_folder

_HASH_DIGITS: Final = 16
"""Of a folder's name: enough that no two files share one."""


def kept_at(name: str, sha256: str) -> Path:
    """The folder for what has this name and hash, whether it is there or not."""
    return cache_folder() / f"{name}-{sha256[:_HASH_DIGITS]}"


@contextmanager
def writing() -> Iterator[None]:
    """Say what helps where the cache cannot be written.

    Raises:
        SetupError: The block raised an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise SetupError(
            f"the cache {cache_folder()} cannot be written ({error}); set XDG_CACHE_HOME to a folder that can"
        ) from error


def check_sha256(file: Path, sha256: str, *, name: str, suspect: str) -> None:
    """Refuse another file than the one that was pinned.

    Args:
        file: What was fetched.
        sha256: 64 hexadecimal digits.
        name: As people know the file.
        suspect: Who may have exchanged it, as a sentence without its full stop.

    Raises:
        SetupError: The hash differs.
    """
    if (found := sha256_of(file)) != sha256:
        raise SetupError(
            f"{name} is not the file that reeltag was built with: its sha256 is {found} instead of {sha256}. "
            f"{suspect}; nothing of it was kept"
        )
