"""`reeltag jobs`: libraries of videos, tagged by a server and its workers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reeltag.commands.common import progress, results, table_of
from reeltag.errors import InputError, InvalidOption

if TYPE_CHECKING:
    from reeltag.client import Client, Job, JobState

app = typer.Typer(
    help="Submit videos to a server and follow the jobs made of them.\n\nExit status: 0 done as asked, for `watch` and "
    "`submit --watch`: the job succeeded; 1 the server or the job failed; 2 a mistake in what was asked; 3 the job "
    "ended PARTIAL or CANCELLED; 130 Ctrl-C (the job goes on).",
    no_args_is_help=True,
)
PARTLY = 3
"""Exit status where a job ended otherwise than it was to."""
_INTERRUPTED = 130
_MOST_SHOWN = 20
"""Videos in work of which it is shown what was seen so far."""

Server = Annotated[
    str, typer.Option("--server", "--url", envvar="REELTAG_SERVER", help="The gateway's address; https:// for TLS.")
]
Key = Annotated[str | None, typer.Option("--key", envvar="REELTAG_API_KEY", help="API key, where one is wanted.")]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", help="PEM file of the authorities that the server is held to.")
]
JobId = Annotated[str, typer.Argument(help="As `submit` and `list` print it.")]
_SERVER = "http://127.0.0.1:8000"


@app.command()
def submit(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, globs and manifests of the server, URLs, object stores; with --upload files here."
        ),
    ],
    upload: Annotated[bool, typer.Option("--upload", help="Send the files from here to the server first.")] = False,
    fps: Annotated[float | None, typer.Option(help="Frames looked at per second of video. Default: 2.")] = None,
    sample: Annotated[
        str | None, typer.Option(help="every, fps, keyframes, shots or adaptive, as for `reeltag tag`.")
    ] = None,
    frames: Annotated[bool, typer.Option("--frames", help="Also write every sampled frame's detections.")] = False,
    option: Annotated[list[str] | None, typer.Option(help="Another option, NAME=JSON. May be repeated.")] = None,
    priority: Annotated[int | None, typer.Option(help="1 goes first, 9 last.", min=1, max=9)] = None,
    webhook: Annotated[str | None, typer.Option(help="An address that hears how the job ends.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key with other sources is an error.")] = None,
    watch_it: Annotated[bool, typer.Option("--watch", help="Watch it until it ends.")] = False,
    server: Server = _SERVER,
    key: Key = None,
    ca_file: CaFile = None,
) -> None:
    """Make a job, and print its id; what was submitted before with the same options is the same job."""
    options = _options(fps, sample, frames, option or [])
    with _client(server, key, ca_file) as client:
        asked = [_uploaded(client, source) for source in sources] if upload else [_named(source) for source in sources]
        job = client.jobs.submit(
            asked, options=options, priority=priority, webhook=webhook, idempotency_key=idempotency_key
        )
        results.print(job.id, markup=False)
        if watch_it:
            _watch(client, job.id, server)


@app.command("list")
def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only those in this state. May be repeated.")] = None,
    most: Annotated[int, typer.Option(help="Most jobs.", min=1)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each.")] = False,
    server: Server = _SERVER,
    key: Key = None,
    ca_file: CaFile = None,
) -> None:
    """List jobs, the newest first."""
    with _client(server, key, ca_file) as client:
        found = []
        for job in client.jobs.list(states=_states(state or [])):
            found.append(job)
            if len(found) == most:
                break
    if as_json:
        for job in found:
            results.print(_json(job), markup=False, soft_wrap=True)
    else:
        results.print(
            table_of("", [_row(job) for job in found], whole=("job", "state", "videos", "created"))
            if found
            else "there are no jobs"
        )


@app.command()
def watch(job_id: JobId, server: Server = _SERVER, key: Key = None, ca_file: CaFile = None) -> None:
    """Show how far a job is until it ends; Ctrl-C leaves it running."""
    with _client(server, key, ca_file) as client:
        _watch(client, job_id, server)


@app.command()
def cancel(job_id: JobId, server: Server = _SERVER, key: Key = None, ca_file: CaFile = None) -> None:
    """Stop the work on a job; what is done is kept."""
    with _client(server, key, ca_file) as client:
        _tell(client.jobs.cancel(job_id))


@app.command()
def resume(job_id: JobId, server: Server = _SERVER, key: Key = None, ca_file: CaFile = None) -> None:
    """Go on with a cancelled job."""
    with _client(server, key, ca_file) as client:
        _tell(client.jobs.resume(job_id))


@app.command()
def retry(job_id: JobId, server: Server = _SERVER, key: Key = None, ca_file: CaFile = None) -> None:
    """Try again what failed of a job; what is done stays done."""
    with _client(server, key, ca_file) as client:
        _tell(client.jobs.retry(job_id))


@app.command()
def delete(job_id: JobId, server: Server = _SERVER, key: Key = None, ca_file: CaFile = None) -> None:
    """Remove a job that has ended, with its results."""
    with _client(server, key, ca_file) as client:
        client.jobs.delete(job_id)
    results.print(f"deleted {job_id}", markup=False)


@app.command("results")
def show_results(
    job_id: JobId,
    form: Annotated[str, typer.Option("--format", help="jsonl, json, vtt, csv or parquet.")] = "jsonl",
    video: Annotated[int | None, typer.Option(help="Number of the video, for json, vtt and csv.", min=0)] = None,
    out: Annotated[Path | None, typer.Option(help="File for them. Default: the standard output.")] = None,
    server: Server = _SERVER,
    key: Key = None,
    ca_file: CaFile = None,
) -> None:
    """Write what was found: jsonl has a line for each video, parquet is of the whole job, the others of one video."""
    with _client(server, key, ca_file) as client, _written(out) as write:
        if form == "jsonl":
            for document in client.jobs.results(job_id):
                write(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        elif form in ("json", "vtt", "csv", "parquet"):
            number = video if video is not None or form == "parquet" else 0
            write(client.jobs.result_file(job_id, form, number))
        else:
            raise InvalidOption(f"--format {form}: use jsonl, json, vtt, csv or parquet")


def _watch(client: Client, job_id: str, server: str) -> None:
    """Follow a job; ends the command with the status that its end deserves."""
    from reeltag.client import JobState
    from reeltag.commands.job_table import JobTable

    try:
        with JobTable() as table:
            job = None
            for job in client.jobs.watch(job_id):
                running = client.jobs.videos(job_id, states=[JobState.RUNNING]) if table.is_live else ()
                table.show(job, islice(running, _MOST_SHOWN))
    except KeyboardInterrupt:
        where = "" if server == _SERVER else f" --server {server}"
        progress.print(
            f"\nthe job goes on; come back with: reeltag jobs watch {job_id}{where}", markup=False, soft_wrap=True
        )
        raise typer.Exit(_INTERRUPTED) from None
    assert job is not None
    statuses = {"SUCCEEDED": 0, "PARTIAL": PARTLY, "CANCELLED": PARTLY}
    raise typer.Exit(statuses.get(job.state.value, 1))


@contextmanager
def _client(server: str, key: str | None, ca_file: Path | None) -> Iterator[Client]:
    from reeltag.client import Client, Refused

    if not server.startswith(("http://", "https://")):
        raise InvalidOption(f"--server {server}: give http://HOST:PORT or https://HOST:PORT")
    with Client(server, api_key=key, ca_file=ca_file) as client:
        try:
            yield client
        except Refused as error:
            if error.wait_seconds is None and error.code != "internal_error":
                raise InputError(str(error)) from error  # what was asked was wrong, not the server
            raise


def _options(fps: float | None, sample: str | None, frames: bool, others: list[str]) -> dict[str, Any]:
    given = {"fps": fps, "sample": sample, "frames": frames or None}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for other in others:
        name, separator, value = other.partition("=")
        try:
            options[name] = json.loads(value)
        except ValueError as error:
            raise InvalidOption(f"--option {other}: give NAME=JSON, such as frames=true") from error
        if not separator or not name:
            raise InvalidOption(f"--option {other}: give NAME=JSON, such as frames=true")
    return options


def _named(source: str) -> str:
    """A source as the server takes it: a file that is here is named by its whole path."""
    return source if ":" in source or not Path(source).exists() else str(Path(source).absolute())


def _uploaded(client: Client, source: str) -> str:
    from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

    with Progress(
        *Progress.get_default_columns(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=progress,
        disable=not progress.is_terminal,
    ) as shown:
        task = shown.add_task(Path(source).name)
        return client.jobs.upload(source, lambda done, total: shown.update(task, completed=done, total=total))


def _states(given: list[str]) -> list[JobState]:
    from reeltag.client import JobState

    try:
        return [JobState(state.upper()) for state in given]
    except ValueError as error:
        raise InvalidOption(f"--state: use {', '.join(JobState.__members__)}") from error


@contextmanager
def _written(out: Path | None) -> Iterator[Any]:
    """What writes bytes: to a file that appears when it is whole, or to the standard output."""
    import os
    import sys

    from reeltag.errors import OutputError

    if out is None:
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    coming = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with coming.open("wb") as file:
            yield file.write
        coming.replace(out)
    except OSError as error:
        raise OutputError(f"{out} cannot be written ({error.strerror})") from error
    finally:
        coming.unlink(missing_ok=True)


def _tell(job: Job) -> None:
    results.print(f"{job.id} is {job.state.value}", markup=False)


def _json(job: Job) -> str:
    import dataclasses

    return json.dumps(dataclasses.asdict(job), ensure_ascii=False)


def _row(job: Job) -> dict[str, str]:
    done = job.progress
    return {
        "job": job.id,
        "state": job.state.value,
        "videos": f"{done.videos_done:,}/{done.videos_total:,}",
        "created": time.strftime("%d %b %H:%M", time.localtime(job.created_at)),
        "source": job.sources[0] + (f" and {len(job.sources) - 1:,} more" if len(job.sources) > 1 else "")
        if job.sources
        else "",
    }
