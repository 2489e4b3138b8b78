"""What came of a job while plugs were pulled, beside what came of it in peace, and what is wrong with that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.plugs.pulls import PLUGS
from benchmarks.plugs.watching import Seen
from vod.client import Job, JobState


@dataclass
class Pulled:
    """What was done to a job."""

    job: Job
    pulls: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """How many of them were `kill -9`."""
        return sum(count for name, count in self.pulls.items() if PLUGS[name].is_kill)

    @property
    def at_risk(self) -> int:
        """Most segments that may have run again: the places of the workers that lost what they did."""
        return sum(count * PLUGS[name].at_risk for name, count in self.pulls.items())


@dataclass(frozen=True)
class Ended:
    """A job at its end."""

    pulled: Pulled
    seen: Seen
    files: Mapping[str, bytes]
    """By names below the job's folder."""
    times: int
    """In the results, that were looked at."""
    wrong_times: list[str]
    left_behind: list[str]
    wrong_answers: list[str]
    """Of the gateway."""

    def differing(self, calm: Ended) -> list[str]:
        """Names of files that are not the same in both."""
        names = self.files.keys() | calm.files.keys()
        return sorted(name for name in names if self.files.get(name) != calm.files.get(name))

    def told(self, calm: Ended) -> str:
        """What was seen."""
        pulls, seen = self.pulled.pulls, self.seen
        return "\n".join([
            f"{sum(pulls.values())} plugs pulled, {self.pulled.kills} of them kill -9: {dict(sorted(pulls.items()))}",
            f"{self.pulled.seconds:.0f} s (in peace {calm.pulled.seconds:.0f} s), {self.pulled.job.state.value}",
            f"{len(seen.done)} of {seen.planned} segments done, {len(seen.begun_though_done)} begun again though done",
            f"{seen.again} runs more than segments, of at most {self.pulled.at_risk} that were in work at the pulls",
            f"{len(self.files)} files, {len(self.differing(calm))} of them not as in peace",
            f"{self.times} times in them looked at, {len(self.wrong_times)} wrong",
        ])  # fmt: skip

    def problems(self, pulls: int, calm: Ended) -> Iterator[str]:
        """What is wrong."""
        seen, differing = self.seen, self.differing(calm)
        checks = {
            f"the job is {self.pulled.job.state.value}": self.pulled.job.state is not JobState.SUCCEEDED,
            f"only {sum(self.pulled.pulls.values())} plugs were pulled": sum(self.pulled.pulls.values()) < pulls,
            f"{seen.planned - len(seen.done)} segments are lost": len(seen.done) != seen.planned or not seen.planned,
            f"begun again though done: {sorted(seen.begun_though_done)[:5]}": bool(seen.begun_though_done),
            f"{seen.again} segments ran again": seen.again > self.pulled.at_risk,
            f"files differ: {differing[:5]}": bool(differing),
            f"no file has a time: {self.times}": not self.times,
            f"times are wrong: {self.wrong_times[:5]}": bool(self.wrong_times),
            f"the gateway answered {self.wrong_answers}": bool(self.wrong_answers),
            f"not as it should be at the end: {self.left_behind}": bool(self.left_behind),
        }
        yield from (text for text, is_wrong in checks.items() if is_wrong)


def files_in(folder: Path) -> dict[str, bytes]:
    """The results of a job, by names."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file()}
