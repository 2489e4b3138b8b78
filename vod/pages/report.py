"""The report of a run, `--report FILE`: a line of JSON for each input, as it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any, Final

from reeltag.errors import OutputError
from vod.outcome import Outcome, Progress, Status
from vod.stores.names import shown
from vod.stores.results import JSON_SUFFIX

_WORDS: Final = {
    Status.TAGGED: "done",
    Status.DONE: "skipped",
    Status.FAILED: "failed",
    Status.IGNORED: "ignored",
}


class RunReport:
    """Writes what is told to it, and tells another progress of it; use it with `with`.

    Args:
        path: The file; written anew. None for no report.
        progress: Is told the same.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, path: Path | None, progress: Progress) -> None:
        self._progress = progress
        try:
            self._file: IO[str] | None = None if path is None else path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise OutputError(f"the report {shown(path or '')} cannot be written: {error.strerror}") from error

    def __enter__(self) -> RunReport:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def planned(self, inputs: int) -> None:
        """Pass it on."""
        self._progress.planned(inputs)

    def started(self, path: Path) -> None:
        """Pass it on."""
        self._progress.started(path)

    def advanced(self, path: Path, share: float) -> None:
        """Pass it on."""
        self._progress.advanced(path, share)

    def finished(self, outcome: Outcome) -> None:
        """Write the line of an input.

        Raises:
            OutputError: It cannot be written.
        """
        try:
            if self._file is not None:
                self._file.write(json.dumps(line_of(outcome), ensure_ascii=False) + "\n")
        except OSError as error:
            raise OutputError(f"the report cannot be written: {error.strerror}") from error
        self._progress.finished(outcome)


def line_of(outcome: Outcome) -> dict[str, Any]:
    """What the report says of an input; fields without a value are left out."""
    result = next((shown(file) for file in outcome.files if file.name.endswith(JSON_SUFFIX)), None)
    line = {
        "path": shown(outcome.path),
        "status": _WORDS[outcome.status],
        "reason": outcome.reason or None,
        "result": result,
        "duration_seconds": outcome.duration_seconds or None,
        "tags": outcome.tags if result else None,
        "gaps": [gap.model_dump() for gap in outcome.gaps] or None,
    }
    return {name: value for name, value in line.items() if value is not None}
