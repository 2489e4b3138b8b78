"""The progress of `reeltag tag` for a person: bars on a terminal, a line a file anywhere else."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from reeltag.tags import VideoTags
from vod.outcome import Outcome, Status
from vod.stores.names import shown
from vod.stores.results import JSON_SUFFIX, amount_of

_MAX_LISTED = 20
_STYLES = {Status.TAGGED: "green", Status.DONE: "cyan", Status.FAILED: "red", Status.IGNORED: "dim"}


class ConsoleProgress:
    """Shows how `tag_paths` goes on; use it with `with`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._all = self._bars.add_task("all", total=None, visible=False)
        self._each: dict[Path, TaskID] = {}
        self._began = time.monotonic()

    def __enter__(self) -> ConsoleProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def planned(self, inputs: int) -> None:
        """Show a bar over all inputs where there are several."""
        self._bars.update(self._all, total=inputs, description=f"{inputs} files", visible=inputs > 1)

    def started(self, path: Path) -> None:
        """Show a bar for the input."""
        self._each[path] = self._bars.add_task(escape(shown(path.name)), total=1.0)

    def advanced(self, path: Path, share: float) -> None:
        """Move the input's bar."""
        self._bars.update(self._each[path], completed=share)

    def finished(self, outcome: Outcome) -> None:
        """Turn the input's bar into a line."""
        if outcome.path in self._each:
            self._bars.remove_task(self._each.pop(outcome.path))
        self._bars.advance(self._all)
        if outcome.status is not Status.IGNORED:
            style = _STYLES[outcome.status]
            self._console.print(f"[{style}]{outcome.status.value:>7}[/]  {escape(_line(outcome))}", soft_wrap=True)

    def list_ignored(self, outcomes: Sequence[Outcome]) -> None:
        """Print what was found in folders and is neither image nor video: by name, or where it is much, by suffix."""
        ignored = [outcome for outcome in outcomes if outcome.status is Status.IGNORED]
        if len(ignored) <= _MAX_LISTED:
            lines = [f"{shown(outcome.path)}: {outcome.reason}" for outcome in ignored]
        else:
            counts = Counter(shown(outcome.path.suffix.lower()) or "no suffix" for outcome in ignored)
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(_MAX_LISTED))
            lines = [f"{len(ignored)} files: {kinds}; --report lists them"]
        for line in lines:
            self._console.print(f"[dim]ignored[/]  {escape(line)}", soft_wrap=True)

    def conclude(self, outcomes: Sequence[Outcome]) -> bool:
        """Print the sum of a run; False when an input failed or nothing was found to tag."""
        self._bars.stop()
        self.list_ignored(outcomes)
        counts = {status: sum(outcome.status is status for outcome in outcomes) for status in Status}
        parts = [f"{count} {status.value}" for status, count in counts.items() if count]
        seconds = time.monotonic() - self._began
        video_seconds = sum(outcome.duration_seconds for outcome in outcomes if outcome.status is Status.TAGGED)
        rate = f", {video_seconds / seconds:.1f} s of video a second" if video_seconds else ""
        self._console.print(f"{', '.join(parts) or 'nothing found to tag'} in {seconds:.1f} s{rate}")
        return counts[Status.FAILED] == 0 and counts[Status.TAGGED] + counts[Status.DONE] > 0


def _line(outcome: Outcome) -> str:
    if outcome.status is Status.FAILED:
        return f"{shown(outcome.path)}: {outcome.reason}"
    what = f"{outcome.tags} tags" + (f", {outcome.duration_seconds:.1f} s" if outcome.duration_seconds else "")
    where = next((str(file) for file in outcome.files if not file.name.endswith(JSON_SUFFIX)), "")
    page = next((str(file) for file in outcome.files if file.suffix == ".html"), where)
    told = f" ({outcome.reason})" if outcome.message else ""
    return f"{shown(outcome.path)}: {what}" + (f" -> {shown(page)}" if page else "") + told


def tags_table(tags: VideoTags) -> Table:
    """The tags of a video as a table: label, model, confidence, and when."""
    title = f"{tags.source.name}: {tags.source.duration_seconds:.1f} s, {len(tags.shots)} shots"
    table = Table(title=escape(title), title_justify="left", show_edge=False, padding=(0, 1))
    for column in ("tag", "model", "confidence", "seconds"):
        table.add_column(column, overflow="fold")
    for tag in tags.tags:
        spans = ", ".join(f"{i.start_seconds:.1f}-{i.end_seconds:.1f}" for i in tag.intervals)
        table.add_row(escape(tag.label), escape(tag.model), amount_of(tag, tag.confidence), spans)
    return table
