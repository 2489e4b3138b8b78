"""The command `reeltag`: each subcommand calls one function of a room."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import httpx
import typer
from rich.console import Console
from rich.table import Table

from reeltag import __version__
from reeltag.errors import InputError, InvalidOption, ReeltagError, TritonUnavailable

if TYPE_CHECKING:
    from exporters.repository import ListedModel
    from reeltag.embedded import EmbeddedTriton
    from reeltag.settings import Settings

app = typer.Typer(
    help="Tags for video and image archives at throughput, served by NVIDIA Triton.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
evaluate = typer.Typer(help="Measure accuracy through the running server.", no_args_is_help=True)
app.add_typer(evaluate, name="evaluate")

_say = Console(stderr=True, highlight=False)
_print = Console(highlight=False)

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        "--triton-url",
        help="A running server: the gateway (http://127.0.0.1:8000) or Triton's gRPC (127.0.0.1:8001). "
        "Without it one is started for this command.",
    ),
]
RepositoryOption = Annotated[
    Path | None, typer.Option("--model-repository", help="Triton model repository. Default: the project's own.")
]


class Sampling(str, Enum):
    """Which frames of a video are looked at."""

    FPS = "fps"
    KEYFRAMES = "keyframes"
    SHOTS = "shots"


def main() -> NoReturn:
    """Run the command; errors of ours become one line and exit status 2 (the user's mistake) or 1."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(standalone_mode=True)
    except ReeltagError as error:
        _say.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, InputError) else 1)
    sys.exit(0)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt  # so that a SIGTERM cleans up as a Ctrl-C does


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        _print.print(__version__)
        raise typer.Exit


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the gateway. Default: 8000.")] = None,
    triton_url: Annotated[
        str | None, typer.Option(help="gRPC HOST:PORT of a Triton server that is already there.")
    ] = None,
    triton_grpc_port: Annotated[int, typer.Option(help="gRPC port of the embedded Triton; 0: any free one.")] = 0,
    model_repository: RepositoryOption = None,
) -> None:
    """Serve the gateway, and Triton behind it, until Ctrl-C."""
    from gateway.server import check_port
    from gateway.server import serve as serve_gateway

    settings = _settings(host=host, port=port, triton_url=triton_url, model_repository=model_repository)
    check_port(settings.host, settings.port)
    with _triton(settings, triton_grpc_port) as triton_address:

        def announce(address: str) -> None:
            _say.print(f"reeltag {__version__} serves {address} (docs: {address}/docs). Ctrl-C stops it.")

        serve_gateway(settings.model_copy(update={"triton_url": triton_address}), on_ready=announce)


@app.command()
def tag(
    paths: Annotated[list[Path], typer.Argument(help="Images, videos and folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; made when it is missing.")],
    fps: Annotated[float | None, typer.Option(help="Frames looked at per second of video. Default: 2.")] = None,
    sample: Annotated[
        Sampling, typer.Option(help="fps: evenly in time; keyframes: fastest, no shots; shots: a few frames a shot.")
    ] = Sampling.FPS,
    frames: Annotated[bool, typer.Option("--frames", help="Also write every sampled frame's detections.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Tag again what has been tagged already.")] = False,
    url: UrlOption = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Tag images and videos: NAME.tags.json, NAME.vtt, NAME.csv and the page NAME.html for each video."""
    from reeltag.triton import TritonClient
    from vod.console import ConsoleProgress
    from vod.options import Sample, TagOptions
    from vod.tagging import check_inputs, tag_paths

    if fps is not None and sample is Sampling.SHOTS:
        raise InvalidOption("--fps does not go with --sample shots, which looks at a few frames of each shot")
    rate = TagOptions.fps if fps is None else fps
    options = TagOptions(sample=Sample(sample.value), fps=rate, frames=frames, force=force)
    check_inputs(paths, out)
    settings = _settings(triton_url=url and _triton_address(url), model_repository=model_repository)
    with _triton(settings) as address:

        async def run() -> bool:
            async with TritonClient(address, timeout_seconds=settings.timeout_seconds) as client:
                with ConsoleProgress(_say) as progress:
                    return progress.conclude(await tag_paths(paths, out, client, options, progress))

        try:
            good = asyncio.run(run())
        except KeyboardInterrupt:
            _say.print("interrupted; the same command goes on where it was")
            raise
    if not good:
        raise typer.Exit(1)


@app.command()
def show(result: Annotated[Path, typer.Argument(help="A NAME.tags.json of a video.")]) -> None:
    """Print the tags of a video as a table."""
    from pydantic import ValidationError

    from reeltag.tags import VideoTags
    from vod.console import tags_table

    try:
        tags = VideoTags.model_validate_json(result.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{result} is no result of a video: {error}") from error
    _print.print(tags_table(tags))


@app.command()
def models(
    url: UrlOption = None,
    model_repository: RepositoryOption = None,
) -> None:
    """List what can be exported, and what a running server serves."""
    from exporters import repository
    from reeltag.doctor import describe
    from reeltag.triton import TritonClient

    _print.print(_table("catalogue", [_row(model) for model in repository.listing(_repository(model_repository))]))
    if url is None:
        return

    async def served() -> list[dict[str, str]]:
        async with TritonClient(_triton_address(url)) as client:
            cards = await client.cards()
            states = await client.served()
            return [
                {"model": name, "state": state, "network": describe(cards[name]) if name in cards else ""}
                for name, state in sorted(states.items())
            ]

    _print.print(_table(f"served at {url}", asyncio.run(served())))


@app.command()
def export(
    names: Annotated[list[str], typer.Argument(help="Catalogue names; see `reeltag models`.")],
    onnx: Annotated[
        Path | None, typer.Option(help="The published network, for one that was published as ONNX (nanodet_g).")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Your weights, for a network that comes without any, such as yolox_s.")
    ] = None,
    num_classes: Annotated[int | None, typer.Option(help="Classes that the checkpoint tells apart.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Text file with the checkpoint's class names, one a line.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of the square input, a multiple of 32 pixels.")] = None,
    activation: Annotated[str | None, typer.Option(help="YOLOX: silu, mish or relu. Default: silu.")] = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Make network files from their sources or from your checkpoint, verify and publish them."""
    from exporters.export import export as export_model
    from exporters.from_checkpoint import Checkpoint, export_checkpoint

    target = _repository(model_repository)
    if checkpoint is None and (num_classes, labels, size, activation) != (None,) * 4:
        raise InvalidOption("--num-classes, --labels, --size and --activation go with --checkpoint FILE")
    if checkpoint is not None and len(names) != 1:
        raise InvalidOption(f"--checkpoint belongs to one network, not to {len(names)}")
    for name in names:
        with _say.status(f"exporting {name}"):
            if checkpoint is None:
                report = export_model(name, target=target, onnx_file=onnx)
            else:
                sides = None if size is None else (size, size)
                own = Checkpoint(checkpoint, num_classes, labels, sides, activation)
                report = export_checkpoint(name, own, target=target)
        _print.print(report, markup=False, soft_wrap=True)


@evaluate.command("detection")
def evaluate_detection(
    images: Annotated[Path, typer.Option(help="Folder of the images.")],
    annotations: Annotated[Path, typer.Option(help="COCO JSON with the boxes.")],
    url: UrlOption = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Print the COCO table (AP, AP50, AP75, small, medium, large) of the served detector."""
    from rich.progress import track

    from exporters import evaluation
    from reeltag.triton import TritonClient

    dataset = evaluation.read_coco(images, annotations)
    settings = _settings(triton_url=url and _triton_address(url), model_repository=model_repository)
    with _triton(settings) as address:

        async def run() -> dict[str, float]:
            async with TritonClient(address, timeout_seconds=settings.timeout_seconds) as client:
                batches = track(dataset.batches(), description="images", console=_say, total=dataset.batch_count)
                return await evaluation.evaluate_detection(client, dataset, batches)

        table = asyncio.run(run())
    _print.print(_table(f"COCO AP, {len(dataset.files)} images", [{k: f"{100 * v:.1f}" for k, v in table.items()}]))


@app.command()
def doctor(url: UrlOption = None) -> None:
    """Say what is here, what is missing, and how to get it."""
    from reeltag import doctor as examination

    address = None if url is None else _triton_address(url)
    findings = asyncio.run(examination.examine(address))
    table = Table(show_edge=False, padding=(0, 1))
    for column in ("", "what", "found"):
        table.add_column(column, overflow="fold")
    marks = {"ok": "[green]ok[/]", "missing": "[red]missing[/]", "optional": "[yellow]optional[/]"}
    for finding in findings:
        table.add_row(marks[finding.state], finding.subject, finding.detail.replace("[", "\\["))
    _print.print(table)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(1)


def _settings(**overrides: object) -> Settings:
    from reeltag.settings import load_settings

    return load_settings(**{name: value for name, value in overrides.items() if value is not None})


def _repository(chosen: Path | None) -> Path:
    from exporters.repository import default_repository

    return default_repository() if chosen is None else chosen


@contextlib.contextmanager
def _triton(settings: Settings, grpc_port: int = 0) -> Iterator[str]:
    """Address of the Triton server to use: the one named in the settings, or an embedded one for the block."""
    if settings.triton_url is not None:
        yield settings.triton_url
        return
    from exporters.repository import publish
    from reeltag.embedded import EmbeddedTriton, find

    find()
    repository = _repository(settings.model_repository)
    with _say.status("preparing the model repository") as status:
        publish(repository)
        status.update("starting Triton")
        triton: EmbeddedTriton = EmbeddedTriton(repository, grpc_port=grpc_port)
        triton.start()
    try:
        _say.print(
            f"Triton: gRPC {triton.url}, HTTP {triton.http_url}, metrics {triton.metrics_url}, "
            f"ready in {triton.startup_seconds:.1f} s, log {triton.log}",
            soft_wrap=True,
        )
        yield triton.url
    finally:
        triton.stop()


def _triton_address(url: str) -> str:
    """Triton's gRPC address behind `url`: itself, or where the gateway at an http address says that it is."""
    if not url.startswith(("http://", "https://")):
        return url.removeprefix("grpc://")
    try:
        answer = httpx.get(f"{url.rstrip('/')}/v1/models", timeout=10, trust_env=False)
        answer.raise_for_status()
        return str(answer.json()["triton"]["grpc_url"])
    except httpx.HTTPStatusError as error:
        raise TritonUnavailable(
            f"the gateway at {url} answers {error.response.status_code}: {error.response.text}"
        ) from error
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise TritonUnavailable(
            f"no reeltag gateway answers at {url} ({error}); start one with `reeltag serve`, or leave --url out"
        ) from error


def _row(model: ListedModel) -> dict[str, str]:
    return {
        "model": model.name,
        "task": model.task,
        "input": model.input,
        "weights": f"{model.parameters / 1e6:.2f} M",
        "file": f"{model.size_bytes / 2**20:.1f} MiB" if model.size_bytes else "--checkpoint",
        "served": "yes" if model.in_repository else "no",
        "licence": model.licence,
    }


def _table(title: str, rows: Sequence[Mapping[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", show_edge=False, padding=(0, 1))
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(value.replace("[", "\\[") for value in row.values()))
    return table
