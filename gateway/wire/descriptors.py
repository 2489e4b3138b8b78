"""Files that this process may have open: so many connections that something is left for all else."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Final, NamedTuple

from reeltag.errors import SetupError

_BACKLOG: Final = 2048
_RESERVED: Final = 64
"""For the channel to Triton, logs, libraries that are loaded late."""
_log: Final = logging.getLogger(__name__)


class Room(NamedTuple):
    """What the limit of open files leaves."""

    connections: int
    backlog: int
    """Connections that may wait to be accepted; all of them can come at once, beyond the others."""


def room_for(connections: int, refused: int) -> Room:
    """Raise the limit of open files as far as it goes, and divide it.

    Args:
        connections: So many are wanted.
        refused: So many more are open while they are told that there are too many.

    Raises:
        SetupError: The limit leaves no room.
    """
    left = _limit() - _open_files() - _RESERVED - refused
    room = Room(min(connections, left - min(_BACKLOG, left // 2)), min(_BACKLOG, left // 2))
    if room.connections < 1:
        raise SetupError(f"only {_limit()} files may be open, which leaves none for connections; raise `ulimit -n`")
    if room.connections < connections:
        _log.warning(
            "only %d connections instead of %d: %d files may be open; raise `ulimit -n`",
            *(room.connections, connections, _limit()),
        )
    return room


def _limit() -> int:
    if sys.platform == "win32":
        return 1 << 20
    import resource  # noqa: PLC0415  (there is none on Windows)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS names a limit that it does not allow
            return soft
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def _open_files() -> int:
    folder = Path("/dev/fd")
    return sum(1 for _ in folder.iterdir()) if folder.exists() else _RESERVED
