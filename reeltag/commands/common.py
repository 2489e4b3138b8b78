"""What several commands share: consoles, common options, the server that they talk to."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from reeltag.errors import EmbeddedUnavailable, InvalidOption, TritonUnavailable

if TYPE_CHECKING:
    from exporters.publishing.serving import Prepared
    from reeltag.embedded import EmbeddedTriton
    from reeltag.settings import Settings
    from reeltag.triton import TritonClient

progress: Final = Console(stderr=True, highlight=False)
"""Where a command says what it is doing."""
_PIPED_COLUMNS: Final = 10_000
"""Nothing is folded where no person looks: a table takes no more of them than its widest cells need."""


def results_console() -> Console:
    """A console as wide as its terminal, or as the variable COLUMNS says; in a pipe or file as wide as what is printed.

    rich's own is 80 columns wide in a pipe, or as wide as a terminal that another stream of the command goes to.
    """
    is_narrow = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(highlight=False, width=None if is_narrow else _PIPED_COLUMNS)


results: Final = results_console()
"""Where a command's results go, so that they can be piped."""

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        "--triton-url",
        help="A running server: the gateway (http://127.0.0.1:8000) or Triton's gRPC (127.0.0.1:8001, unix:PATH). "
        "Without it one is started for this command.",
    ),
]
KeysFileOption = Annotated[
    Path | None, typer.Option("--keys-file", help="File of API keys; with it only who has a good key may ask.")
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option("--model", help="A network that answers instead of the default of its task; may be repeated."),
]
RepositoryOption = Annotated[
    Path | None, typer.Option("--model-repository", help="Triton model repository. Default: the project's own.")
]


def settings_of(**overrides: object) -> Settings:
    """The settings, with the options that a command was given."""
    from reeltag.settings import load_settings

    return load_settings(**{name: value for name, value in overrides.items() if value is not None})


def repository_at(chosen: Path | None) -> Path:
    """The model repository that a command was given, or that of the settings, or the project's own."""
    from exporters.publishing.repository import default_repository

    return chosen or settings_of().model_repository or default_repository()


_READY_SECONDS: Final = 120.0
"""Longest wait for the embedded server to load everything."""
_GPU_READY_SECONDS: Final = 300.0
"""On a GPU, where each network is prepared for eight batch sizes, and some plans are compiled when they are loaded."""


@dataclass(frozen=True)
class UsedTriton:
    """The server that a command talks to."""

    address: str
    """Of its gRPC endpoint."""
    own: EmbeddedTriton | None = None
    """The server itself, where it was started for the command."""

    def client(self, settings: Settings, models: Sequence[str] = ()) -> TritonClient:
        """A client of it, which has it started again where it lost a backend.

        Args:
            settings: Time limit and secret.
            models: Networks that answer instead of the defaults of their tasks.
        """
        from reeltag.triton import TritonClient

        if "," in self.address:
            raise InvalidOption(f"this command asks one Triton, not several: give one of {self.address}")
        return TritonClient(
            self.address,
            timeout_seconds=settings.timeout_seconds,
            secret=settings.triton_secret_value,
            on_lost=self.own.restart if self.own is not None else None,
            models=models,
        )


@contextlib.contextmanager
def running_triton(settings: Settings, metrics_port: int | None = None) -> Iterator[UsedTriton]:
    """The Triton server to use: the one named in the settings, or an embedded one for the block."""
    if settings.triton_url is not None:
        yield UsedTriton(settings.triton_url)
        return
    from exporters.publishing.placing import Machine
    from reeltag.embedded import find
    from reeltag.machine import this_machine
    from reeltag.sizing import shortage

    find()
    if missing := shortage(this_machine()):
        raise EmbeddedUnavailable(missing)
    with contextlib.ExitStack() as stack:
        with progress.status("preparing the model repository") as status:
            try:
                repository, triton = _started(stack, settings, metrics_port, status.update)
            except EmbeddedUnavailable as error:
                reason = str(error)
                if not Machine.here().cuda.gpu:
                    raise
                progress.print(
                    f"networks run on the CPU, because the GPU's could not be loaded: {reason}", markup=False
                )
                repository, triton = _started(stack, settings, metrics_port, status.update, without_gpu=reason)
        for notice in repository.notices:
            progress.print(notice, markup=False, soft_wrap=True)
        metrics = "" if metrics_port is None else f", metrics http://127.0.0.1:{metrics_port}/metrics"
        progress.print(
            f"Triton: gRPC {triton.url}{metrics}, ready in {triton.startup_seconds:.1f} s, log {triton.log}",
            soft_wrap=True,
        )
        yield UsedTriton(triton.url, triton)


def _started(
    stack: contextlib.ExitStack,
    settings: Settings,
    metrics_port: int | None,
    tell: Callable[[str], None],
    without_gpu: str = "",
) -> tuple[Prepared, EmbeddedTriton]:
    """A repository and a server of it, for as long as the stack lasts; on the CPU where GPUs are not to be used."""
    from exporters.publishing.placing import Machine
    from exporters.publishing.serving import prepared
    from reeltag.embedded import EmbeddedTriton

    def machine() -> Machine:
        return Machine.without_gpu(without_gpu) if without_gpu else Machine.here()

    with contextlib.ExitStack() as own:
        repository = own.enter_context(prepared(repository_at(settings.model_repository), machine))
        tell("starting Triton")
        seconds = _GPU_READY_SECONDS if repository.uses_gpu else _READY_SECONDS
        triton = own.enter_context(
            EmbeddedTriton(repository.link, metrics_port=metrics_port, ready_timeout_seconds=seconds)
        )
        repository.release()
        stack.push(own.pop_all())
    return repository, triton


@contextlib.contextmanager
def announced_triton(settings: Settings, metrics_port: int | None = None) -> Iterator[UsedTriton]:
    """As `running_triton`; commands that change what is served find it by its repository."""
    from reeltag.running import announced

    with contextlib.ExitStack() as stack:
        triton = stack.enter_context(running_triton(settings, metrics_port))
        if triton.own is not None:
            stack.enter_context(announced(repository_at(settings.model_repository), triton.address))
        yield triton


@contextlib.contextmanager
def phases() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each phase of long work, for the block: called with its name, the steps done and all its steps."""
    what = TextColumn("{task.description}")
    columns = (SpinnerColumn(), what, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=progress, transient=True, disable=not progress.is_terminal) as shown:
        tasks: dict[str, TaskID] = {}

        def tell(phase: str, done: int, steps: int) -> None:
            if phase not in tasks:
                tasks[phase] = shown.add_task(phase)
            shown.update(tasks[phase], completed=done, total=steps or None)

        yield tell


def triton_address(url: str) -> str:
    """Triton's gRPC address behind `url`: itself, or where the gateway at an http address says that it is."""
    if not url.startswith(("http://", "https://")):
        return _reachable(url.removeprefix("grpc://"))
    try:
        answer = httpx.get(f"{url.rstrip('/')}/v1/models", timeout=10, trust_env=False)
        answer.raise_for_status()
        return _reachable(str(answer.json()["triton"]["grpc_url"]))
    except httpx.HTTPStatusError as error:
        raise TritonUnavailable(
            f"the gateway at {url} answers {error.response.status_code}: {error.response.text}"
        ) from error
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise TritonUnavailable(
            f"no reeltag gateway answers at {url} ({error}); start one with `reeltag serve`, or leave --url out"
        ) from error


def _reachable(address: str) -> str:
    """The address, unless it is a socket that this process may not connect to; one that is not there may come back."""
    path = Path(address.removeprefix("unix:"))
    if (
        address.startswith("unix:")
        and not os.access(path, os.W_OK)
        and not (os.access(path.parent, os.X_OK) and not path.exists())
    ):
        raise TritonUnavailable(
            f"Triton listens at {address}, which only its own user can open, on its own machine; "
            "run this command as that user, or leave --url out to start a server for it"
        )
    return address


def table_of(title: str, rows: Sequence[Mapping[str, str]], *, whole: str | Sequence[str] = ()) -> Table:
    """A table with a column for each key of the first row; that or those of `whole` are the last to be folded."""
    kept = (whole,) if isinstance(whole, str) else whole
    table = Table(title=title, title_justify="left", show_edge=False, padding=(0, 1))
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold", no_wrap=column in kept)
    for row in rows:
        table.add_row(*(value.replace("[", "\\[") for value in row.values()))
    return table
