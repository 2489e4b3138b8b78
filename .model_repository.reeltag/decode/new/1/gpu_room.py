"""Want of memory on the GPU, in the words of every library that may say so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class NoRoom(Exception):
    """The GPU has too little free memory; its text is one that `reeltag.triton_errors` knows."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Errors for want of memory on the GPU become `NoRoom`, whichever library says so."""
    try:
        yield
    except NoRoom:
        raise
    except Exception as error:
        if says_no_room(error):
            raise NoRoom("CUDA out of memory: the GPU has no room for these pictures") from error
        raise


def says_no_room(error: Exception) -> bool:
    """Whether an error is that the GPU has too little free memory."""
    return "out of memory" in str(error).lower()
