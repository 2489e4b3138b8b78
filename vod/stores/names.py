"""Names of results, and names of sources as people read them.

The results of a source depend on its path alone, never on what else is tagged: they lie below the output folder where
the source lies below `/`. Those of `/data/trip/a.mp4` are `OUT/data/trip/a.mp4.tags.json` and so on. Links in the path
of the folder are resolved first, so that a folder has one place however it is reached. A part of the path that is not
UTF-8, or longer than `MAX_PART_BYTES`, is shortened and gets the beginning of its SHA-256.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePath
from typing import Final

MAX_PART_BYTES: Final = 230
"""Longest part of a result's name: most file systems take 255 bytes, and endings such as `.tags.json` are added."""
_HASH_DIGITS: Final = 12


def result_name(source: Path, folder: PurePath | None = None) -> PurePath:
    """Where the results of a source go, below the output folder, without their endings.

    Args:
        source: Its path.
        folder: Of its folder the path without links, where it is known.
    """
    folder = folder or PurePath(os.path.realpath(source.parent))
    return PurePath(*(_part(part) for part in (*folder.parts[1:], source.name)))


def remote_name(*parts: str, secret: str = "") -> PurePath:
    """Where the results of a source elsewhere go.

    Args:
        parts: The host or the store, and the path there, part by part.
        secret: What belongs to the address and is not to be read, such as the query of a URL.
    """
    safe = [_part(f"_{part}" if part in ("", ".", "..") else part) for part in parts]
    if secret:
        safe[-1] = _part(
            f"{safe[-1][: MAX_PART_BYTES // 2]}~{hashlib.sha256(secret.encode()).hexdigest()[:_HASH_DIGITS]}"
        )
    return PurePath(*safe)


def shown(path: str | os.PathLike[str]) -> str:
    r"""A path or a text with one in it, as UTF-8 on one line: other bytes and control characters as `\xe9`."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _part(part: str) -> str:
    raw = os.fsencode(part)
    try:
        if len(raw) <= MAX_PART_BYTES and raw.decode():
            return part
    except UnicodeDecodeError:
        pass
    mark = f"~{hashlib.sha256(raw).hexdigest()[:_HASH_DIGITS]}"
    readable = raw.decode("utf-8", "replace").replace("\ufffd", "_").encode()
    return readable[: MAX_PART_BYTES - len(mark)].decode("utf-8", "ignore") + mark
