"""What `reeltag jobs watch` draws."""

from __future__ import annotations

import io

from rich.console import Console

from reeltag.client import Job, JobProgress, JobState, JobVideo
from reeltag.commands.job_table import table_of


def drawn(*running: JobVideo) -> str:
    out = io.StringIO()
    job = Job("1", JobState.RUNNING, JobProgress(videos_total=2, seconds_total=60))
    Console(file=out, width=100).print(table_of(job, running))
    return out.getvalue()


def video(number: int, **tags: float) -> JobVideo:
    told = tuple({"label": label, "confidence": confidence} for label, confidence in tags.items())
    return JobVideo(number, "a.mp4", "a.mp4", JobState.RUNNING, preliminary_tags=told)


def test_it_shows_what_was_seen_so_far() -> None:
    assert "seen so far" not in drawn(video(0))
    many = {f"label{i}": 0.1 for i in range(9)}
    (line,) = (
        line for line in drawn(video(0, car=0.5, dog=0.7, **many), video(1, car=0.9)).splitlines() if "so far" in line
    )
    assert line.split("so far ")[1].split(", ")[:3] == ["car", "dog", "label0"]
    assert len(line.split(",")) == 8
