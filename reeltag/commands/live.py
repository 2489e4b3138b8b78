"""`reeltag models load`, `unload`, `reload`, `rollback` and `default`: what a running server serves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reeltag.commands.common import RepositoryOption, progress, repository_at, results, settings_of, triton_address
from reeltag.commands.models import app
from reeltag.errors import TritonUnavailable

if TYPE_CHECKING:
    from exporters.publishing.live import LiveServer, Undo

NameArgument = Annotated[str, typer.Argument(help="A network of the model repository.")]
RunningOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        "--triton-url",
        help="The server: the gateway (http://127.0.0.1:8000) or Triton's gRPC, started with "
        "--model-control-mode=explicit. Default: every `reeltag serve` of this user for the repository.",
    ),
]


@app.command()
def load(name: NameArgument, url: RunningOption = None, model_repository: RepositoryOption = None) -> None:
    """Serve a network that was unloaded, or that was published since the server was started."""
    for server in running(repository_at(model_repository), url):
        server.load(name)
        _say(server, f"{name} is served")


@app.command()
def unload(name: NameArgument, url: RunningOption = None, model_repository: RepositoryOption = None) -> None:
    """Serve a network no more, until it is loaded again or the server is started anew."""
    for server in running(repository_at(model_repository), url):
        server.unload(name)
        _say(server, f"{name} is no longer served")


@app.command()
def reload(name: NameArgument, url: RunningOption = None, model_repository: RepositoryOption = None) -> None:
    """Load a network again; the one that is loaded answers until then."""
    for server in running(repository_at(model_repository), url):
        server.load(name, again=True)
        _say(server, f"{name} was loaded again")


@app.command()
def rollback(name: NameArgument, url: RunningOption = None, model_repository: RepositoryOption = None) -> None:
    """Go back to the version of a network that was published before this one; once more brings this one back."""
    from exporters.publishing.repository import roll_back

    target = repository_at(model_repository)
    roll_back(target, name)
    _bring_all(target, url, f"{name} is the version before", lambda fresh: name in fresh and roll_back(target, name))


@app.command()
def default(name: NameArgument, url: RunningOption = None, model_repository: RepositoryOption = None) -> None:
    """Let a network answer its task where no model is named."""
    from exporters.publishing.repository import make_default

    target = repository_at(model_repository)
    make_default(target, name)
    _bring_all(target, url, f"{name} is the default of its task", lambda _: None)


def running(target: Path, url: str | None) -> list[LiveServer]:
    """The servers that a command is about.

    Raises:
        TritonUnavailable: None runs for the repository.
    """
    found = found_running(target, url)
    if not found:
        raise TritonUnavailable(
            f"no `reeltag serve` of this user runs for {target}; start one, or name a server with --url"
        )
    return found


def found_running(target: Path, url: str | None) -> list[LiveServer]:
    """As `running`; none where none runs."""
    from exporters.publishing.live import LiveServer
    from reeltag.running import servers_of

    secret = settings_of().triton_secret_value
    addresses = servers_of(target) if url is None else [triton_address(url)]
    return [LiveServer(target, address, secret, tell=_tell) for address in addresses]


def bring_all(target: Path, url: str | None, undo: Undo) -> list[LiveServer]:
    """Let every running server serve what the repository holds now; where one refuses it, none does."""
    servers = found_running(target, url)
    for server in servers:
        server.bring(undo=undo)
    return servers


def _bring_all(target: Path, url: str | None, done: str, undo: Undo) -> None:
    servers = bring_all(target, url, undo)
    for server in servers:
        _say(server, done)
    if not servers:
        results.print(f"{done} in {target}; no server runs for it", markup=False, soft_wrap=True)


def _say(server: LiveServer, text: str) -> None:
    results.print(f"{text} at {server.url}", markup=False, soft_wrap=True)


def _tell(step: str) -> None:
    progress.print(step, markup=False, soft_wrap=True)
