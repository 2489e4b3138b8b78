"""What became of each input, and who is told while it happens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from reeltag.tags import Gap
from vod.stores.names import shown


class Status(str, Enum):
    """How an input ended."""

    TAGGED = "tagged"
    DONE = "done"
    """Tagged by an earlier run, with the same networks and options."""
    FAILED = "failed"
    """`Outcome.message` says why; other inputs are not affected."""
    IGNORED = "ignored"
    """Neither image nor video, found in a folder; `Outcome.message` says what it is."""


@dataclass(frozen=True)
class Outcome:
    """What became of one input."""

    path: Path
    status: Status
    message: str = ""
    """Why it failed or was ignored; of what was done before, that an earlier version did it."""
    files: tuple[Path, ...] = ()
    """What was written, or was there already."""
    duration_seconds: float = 0.0
    """Of a video."""
    tags: int = 0
    """How many tags it has."""
    gaps: tuple[Gap, ...] = ()
    """Of a video: what could not be decoded."""

    @property
    def reason(self) -> str:
        """The message without the file's name, which errors begin with."""
        for name in (self.path.name, shown(self.path.name)):
            if self.message.startswith((f"{name}: ", f"{name} ")):
                return shown(self.message[len(name) :].lstrip(": "))
        return shown(self.message)


class Progress(Protocol):
    """Told how tagging goes on; called from the event loop, so it must not block."""

    def planned(self, inputs: int) -> None:
        """So many inputs were found."""
        ...

    def started(self, path: Path) -> None:
        """Work on an input begins."""
        ...

    def advanced(self, path: Path, share: float) -> None:
        """A share of a video, 0 to 1, was decoded."""
        ...

    def finished(self, outcome: Outcome) -> None:
        """An input is done, well or not."""
        ...


class Silence:
    """Progress that nobody watches."""

    def planned(self, inputs: int) -> None:
        """Do nothing."""

    def started(self, path: Path) -> None:
        """Do nothing."""

    def advanced(self, path: Path, share: float) -> None:
        """Do nothing."""

    def finished(self, outcome: Outcome) -> None:
        """Do nothing."""
