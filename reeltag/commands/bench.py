"""`reeltag bench`: how fast a network is on this machine, alone and from picture to result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reeltag.commands.common import progress, results, table_of
from reeltag.errors import InvalidOption, SetupError

if TYPE_CHECKING:
    from exporters.bench.ladder import Ladder
    from exporters.bench.others_load import OthersLoad
    from exporters.sources.checkpoint_source import Checkpoint

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """Keeps `model` a command of its own: typer would otherwise make the only one the group itself."""


@app.command()
def model(
    name: Annotated[str, typer.Argument(help="Of the catalogue; see `reeltag models`.")],
    checkpoint: Annotated[Path | None, typer.Option(help="Its weights; random ones are as fast.")] = None,
    labels: Annotated[Path | None, typer.Option(help="The checkpoint's class names, one a line.")] = None,
    activation: Annotated[str | None, typer.Option(help="Of a YOLOX checkpoint: silu, leaky_relu, mish, relu.")] = None,
    iterations: Annotated[int, typer.Option(help="Of each time, at most; of the network alone.", min=1)] = 900,
    seconds: Annotated[float, typer.Option(help="For each row, about, at most.", min=0.1)] = 15.0,
    sizes: Annotated[
        str | None, typer.Option(help="Of the input, ROWSxCOLUMNS with commas between; of the network alone.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of pictures: measure from JPEG to result, step by step.")
    ] = None,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON of the pictures: AP of each step.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="Folder of other pictures, for the int8 step.")] = None,
    qat: Annotated[bool, typer.Option("--qat", help="Fine-tune int8 on these, as a step of its own.")] = False,
    profile: Annotated[
        Literal["edge"] | None,
        typer.Option(help="edge: single pictures, on the device's GPU where it has one; latency p50, p95, p99, watts."),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the steps into this .png or .svg file.")] = None,
) -> None:
    """Time a network in PyTorch and in the runtimes here; with --images, show what each step of optimisation brings."""
    try:
        from exporters.bench.ladder import open_ladder
        from exporters.bench.ladder_picture import check_suffix
        from exporters.bench.others_load import OthersLoad
        from exporters.finetuning.options import FineTuning
        from exporters.sources.checkpoint_source import Checkpoint
    except ModuleNotFoundError as error:
        raise SetupError(f"measuring needs {error.name}; run: pip install 'reeltag[export,serve]'") from error
    if images is None and (annotations, calibration, picture) != (None, None, None):
        raise InvalidOption("--annotations, --calibration and --picture go with --images FOLDER")
    if qat and calibration is None:
        raise InvalidOption("--qat fine-tunes on pictures; name a folder of them: --calibration FOLDER")
    if images is not None and sizes is not None:
        raise InvalidOption("--sizes is of the network alone; leave --images out")
    if checkpoint is None and (labels, activation) != (None, None):
        raise InvalidOption("--labels and --activation go with --checkpoint FILE")
    own = None if checkpoint is None else Checkpoint(checkpoint, labels=labels, activation=activation)
    if images is None:
        _network_alone(name, own, _sizes(sizes), iterations, seconds, OthersLoad(), latency=profile == "edge")
        return
    if picture is not None:
        check_suffix(picture)
    tuning = FineTuning() if qat else None
    ladder = open_ladder(
        name,
        own,
        images,
        annotations=annotations,
        calibration=calibration,
        fine_tuning=tuning,
        latency=profile == "edge",
    )
    _ladder(ladder, name, seconds, picture, OthersLoad())


def _sizes(text: str | None) -> list[tuple[int, int]] | None:
    if text is None:
        return None
    parts = [re.fullmatch(r"(\d+)x(\d+)", part.strip()) for part in text.split(",")]
    if not all(parts):
        raise InvalidOption(f"--sizes {text} is not of the form ROWSxCOLUMNS, such as 256x512,512x1024")
    return [(int(part[1]), int(part[2])) for part in parts if part]


def _network_alone(
    name: str,
    checkpoint: Checkpoint | None,
    sizes: list[tuple[int, int]] | None,
    iterations: int,
    seconds: float,
    load: OthersLoad,
    *,
    latency: bool = False,
) -> None:
    from exporters.bench import seminar
    from exporters.machine import processor

    rows: list[seminar.SeminarRow] = []
    measured = seminar.measure(name, checkpoint, sizes=sizes, iterations=iterations, seconds=seconds)
    try:
        with progress.status(f"measuring {name}") as status:
            for row in measured:
                rows.append(row)
                status.update(f"measuring {name}: {row.runtime} {row.precision} done")
    finally:  # what was measured before Ctrl-C is shown too
        _show(
            f"{name}, one picture at a time; {processor()}",
            seminar.table(rows, latency=latency),
            [*seminar.notes(rows, latency=latency), str(load)],
        )


def _ladder(ladder: Ladder, name: str, seconds: float, picture: Path | None, load: OthersLoad) -> None:
    from exporters.bench.ladder_picture import draw_ladder

    title = f"{name}, from JPEG to result"
    try:
        with progress.status(f"measuring {name}") as status:
            ladder.climb(seconds, lambda text: status.update(f"measuring {name}: {text}"))
    finally:
        _show(f"{title}; {ladder.setting}", ladder.table(), [*ladder.notes(), str(load)])
    if picture is not None:
        draw_ladder(ladder.rungs, picture, title=f"{title}: pictures a second", subtitle=ladder.setting)


def _show(title: str, rows: list[dict[str, str]], notes: list[str]) -> None:
    if rows:
        results.print(table_of(title, rows))
        for note in notes:
            results.print(note, markup=False, soft_wrap=True)
