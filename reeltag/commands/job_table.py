"""How far a job is: a table that is drawn anew at each change, or plain lines where nobody looks."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from reeltag.commands.common import progress

if TYPE_CHECKING:
    from reeltag.client import Job, JobVideo

_MOST_ERRORS: Final = 5
_MOST_LABELS: Final = 8


class JobTable:
    """Shows one job for the block of a `with`."""

    def __init__(self) -> None:
        self._live = Live(console=progress, refresh_per_second=4) if progress.is_terminal else None
        self._line = ""

    def __enter__(self) -> JobTable:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    @property
    def is_live(self) -> bool:
        """Whether a table is drawn; else there are lines."""
        return self._live is not None

    def show(self, job: Job, running: Iterable[JobVideo] = ()) -> None:
        """The job as it is now.

        Args:
            job: The job.
            running: Videos of it that are in work; a line has nothing of them.
        """
        if self._live is not None:
            self._live.update(table_of(job, running))
            return
        line = _line(job)
        if line != self._line:
            self._line = line
            progress.print(line, markup=False, soft_wrap=True)


def _line(job: Job) -> str:
    done = job.progress
    parts = [f"{job.state.value} {done.videos_done:,}/{done.videos_total:,} videos"]
    parts.append(f"{duration(done.seconds_done)} of {duration(done.seconds_total)}")
    if done.rate:
        parts.append(f"{done.rate:.1f}x")
    if done.seconds_left is not None and not job.state.is_final:
        parts.append(f"{duration(done.seconds_left)} left")
    if job.errors:
        parts.append(f"{len(job.errors)} errors, such as {job.errors[-1].source}: {job.errors[-1].message}")
    if job.notice:
        parts.append(job.notice)
    return ", ".join(parts)


def table_of(job: Job, running: Iterable[JobVideo] = ()) -> Table:
    """All that is shown of a job."""
    done = job.progress
    table = Table.grid(padding=(0, 1))
    table.add_row("job", job.id)
    table.add_row("state", job.state.value)
    table.add_row("videos", f"{done.videos_done:,} of {done.videos_total:,}")
    table.add_row("", ProgressBar(total=max(done.videos_total, 1), completed=done.videos_done, width=40))
    table.add_row("video", f"{duration(done.seconds_done)} of {duration(done.seconds_total)}")
    table.add_row("rate", "" if done.rate is None else f"{done.rate:.1f} seconds of video a second")
    left = "" if done.seconds_left is None or job.state.is_final else duration(done.seconds_left)
    table.add_row("left", left)
    if job.coverage is not None:
        table.add_row("coverage", f"{job.coverage:.1f} %")
    best: dict[str, float] = {}
    for tag in (tag for video in running for tag in video.preliminary_tags):
        best[tag["label"]] = max(tag["confidence"], best.get(tag["label"], 0.0))
    if best:
        surest = sorted(best, key=lambda label: (-best[label], label))[:_MOST_LABELS]
        table.add_row("seen so far", ", ".join(surest).replace("[", "\\["))
    for error in job.errors[-_MOST_ERRORS:]:
        table.add_row("error", f"{error.source}: {error.message}".replace("[", "\\["))
    if job.notice:
        table.add_row("", job.notice.replace("[", "\\["))
    return table


def duration(seconds: float) -> str:
    """As hours, minutes and seconds: 1:02:03, or 2:03."""
    whole = round(seconds)
    minutes, hours = whole // 60 % 60, whole // 3600
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
