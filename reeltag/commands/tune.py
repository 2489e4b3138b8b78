"""`reeltag tune`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from reeltag.commands.common import RepositoryOption, progress, repository_at, results, settings_of
from reeltag.errors import InputError, OutputError

if TYPE_CHECKING:
    from reeltag.tuning.candidates import Candidate
    from reeltag.tuning.trial import Measured

_ROW: Final = "{:>9} {:>7} {:>9} {:>5} {:>9} {:>8} {:>9} {:>7}"
_HEAD: Final = ("instances", "threads", "delay, us", "batch", "in flight", "images/s", "p95, ms", "of rule")


def tune(
    latency_ms: Annotated[
        float | None,
        typer.Option(help="Most milliseconds that 95 of 100 requests may take. Without it: for throughput.", min=1),
    ] = None,
    minutes: Annotated[float, typer.Option(help="About how long to try.", min=0.1, max=600)] = 10.0,
    seconds: Annotated[float, typer.Option(help="Of each measurement.", min=0.5, max=60)] = 4.0,
    tasks: Annotated[str, typer.Option(help="What requests ask for, such as detect,classify.")] = "detect",
    images: Annotated[
        Path | None, typer.Option(help="Folder of JPEGs to send, as you will. Default: drawn ones of 1280x720.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    model_repository: RepositoryOption = None,
) -> None:
    """Find the sizes that are fastest on this machine, and keep them where `reeltag serve` and `worker` look.

    Servers are started one after the other, with other numbers of instances, threads, batches and requests in flight;
    nothing else should run meanwhile. What REELTAG_* variables set is left as it is. Ctrl-C ends it without a trace.
    """
    from reeltag.machine import this_machine
    from reeltag.sizing import TUNED_FILE, Tuned
    from reeltag.tuning.candidates import NAMES
    from reeltag.tuning.search import search
    from reeltag.tuning.trial import Servers, Subject

    settings, machine = settings_of(), this_machine()
    fixed = {name: value for name, value in settings if name in NAMES and name in settings.model_fields_set}
    pictures = _pictures(images)
    subject = Subject(
        repository=_published(repository_at(model_repository)),
        images=pictures,
        tasks=tasks,
        seconds=seconds,
        latency_seconds=latency_ms and latency_ms / 1000,
        fixed=fixed,
    )
    aim = "for throughput" if latency_ms is None else f"for p95 of at most {latency_ms:g} ms"
    results.print(f"{machine}; {aim}, {tasks}, with {len(subject.images)} pictures")
    table = _Table()
    found = search(machine, fixed, Servers(subject), table.add, seconds=60 * minutes)
    path = settings.state_dir / TUNED_FILE
    if found.best == found.rule:
        results.print(f"{found.verdict}; nothing is written", soft_wrap=True)
        return
    said = f"{aim}, {tasks}, of {found.tried} tried {time.strftime('%Y-%m-%d')}"
    tuned = Tuned(machine.cores, machine.memory_mib, vars(found.best), round(found.gain, 3), said)
    results.print(f"{found.images_per_second:.1f} images/s, {found.gain:.2f} times what the rule reaches: ", end="")
    results.print("--dry-run, nothing is written" if dry_run else f"written to {path}", soft_wrap=True)
    if not dry_run:
        write_whole(path, tuned.to_json())


class _Table:
    """What was tried, a line each as soon as it is known."""

    def __init__(self) -> None:
        self._rule: float | None = None
        results.print(_ROW.format(*_HEAD))

    def add(self, candidate: Candidate, measured: Measured | None, problem: str) -> None:
        """One more."""
        sizes = list(vars(candidate).values())
        if measured is None:
            results.print(_ROW.format(*sizes, "-", "-", "-"))
            progress.print(f"  {problem}", markup=False, soft_wrap=True)
            return
        rate = measured.images_per_second
        if self._rule is None:
            self._rule = rate
        ratio = f"{rate / self._rule:.2f}" if self._rule else "-"
        results.print(_ROW.format(*sizes, f"{rate:.1f}", f"{1000 * measured.p95_seconds:.0f}", ratio))


def _published(repository: Path) -> Path:
    """The repository, filled where it is not yet."""
    from exporters.publishing.serving import prepared

    with prepared(repository) as ready:
        ready.release()
    return repository


def _pictures(folder: Path | None) -> list[bytes]:
    from reeltag.tuning.pictures import jpegs

    if folder is None:
        return jpegs(32)
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise InputError(f"{folder} holds no JPEGs; name a folder with some, or leave --images out")
    return [path.read_bytes() for path in found[:256]]


def write_whole(path: Path, text: str) -> None:
    """As a whole, or not at all."""
    import os
    import tempfile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); set REELTAG_STATE_DIR to a folder that can"
        ) from error
