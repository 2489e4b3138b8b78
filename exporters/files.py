"""Files written so that a reader, or the next start, never finds half of one, and told apart by their bytes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from reeltag.errors import OutputError

_HASHED_AT_ONCE: Final = 2**20
"""Bytes."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write the file beside its place and rename it; missing folders are made.

    Raises:
        OutputError: It cannot be written, or the disk is full; an older file is still there, whole.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error}); name a folder that can") from error


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, of which few are in memory at once."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()
