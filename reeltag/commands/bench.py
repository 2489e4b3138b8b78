"""`reeltag bench`: how fast a network is on this machine, alone and from picture to result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import typer

from reeltag.commands.common import progress, results, table_of
from reeltag.errors import InvalidOption, SetupError

if TYPE_CHECKING:
    from exporters.bench.camera_ladder import CameraLadder
    from exporters.bench.ladder import Ladder
    from exporters.bench.others_load import OthersLoad
    from exporters.finetuning.options import FineTuning
    from exporters.sources.checkpoint_source import Checkpoint

app = typer.Typer(help="Measure speed on this machine.", no_args_is_help=True)
_EDGE_DETECTOR: Final = "nanodet_g"
"""Whose ladder the edge profile shows where no network is named: its weights come with reeltag."""
_EDGE_SEGMENTER: Final = "swiftnet_rn18"
"""Whose three sizes it shows then."""


@app.callback()
def _bench() -> None:
    """Keeps `model` a command of its own: typer would otherwise make the only one the group itself."""


@app.command()
def model(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Of the catalogue; see `reeltag models`. With --profile edge also none: the ladder of "
            f"{_EDGE_DETECTOR}, then {_EDGE_SEGMENTER} alone."
        ),
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Its weights; random ones are as fast.")] = None,
    labels: Annotated[Path | None, typer.Option(help="The checkpoint's class names, one a line.")] = None,
    activation: Annotated[str | None, typer.Option(help="Of a YOLOX checkpoint: silu, leaky_relu, mish, relu.")] = None,
    iterations: Annotated[int, typer.Option(help="Of each time, at most; of the network alone.", min=1)] = 900,
    seconds: Annotated[float, typer.Option(help="For each row, about, at most.", min=0.1)] = 15.0,
    sizes: Annotated[
        str | None, typer.Option(help="Of the input, ROWSxCOLUMNS with commas between; of the network alone.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of pictures: measure from picture to result, step by step.")
    ] = None,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON of the pictures: AP of each step.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="Folder of other pictures, for the int8 step.")] = None,
    qat: Annotated[bool, typer.Option("--qat", help="Train int8 on these, as a step of its own.")] = False,
    qat_graph: Annotated[
        Path | None,
        typer.Option(help="Instead of training here: the model.onnx that `reeltag export --qat` made of this network."),
    ] = None,
    profile: Annotated[
        Literal["edge"] | None,
        typer.Option(
            help="edge: a camera's frames one at a time, on the device's GPU where it has one; latency p50, p95, p99, "
            "watts."
        ),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the steps into this .png or .svg file.")] = None,
) -> None:
    """Time a network in PyTorch and in the runtimes here; with --images, show what each step of optimisation brings."""
    try:
        from exporters.bench.ladder_picture import check_suffix
        from exporters.bench.others_load import OthersLoad
        from exporters.finetuning.options import FineTuning
        from exporters.sources.checkpoint_source import Checkpoint
    except ModuleNotFoundError as error:
        raise SetupError(f"measuring needs {error.name}; run: pip install 'reeltag[export,serve]'") from error
    is_edge, has_ladder = profile == "edge", images is not None or name is None
    _check_network(name, checkpoint, sizes, images, is_edge=is_edge, describes=(labels, activation) != (None, None))
    if not has_ladder and (annotations, calibration, picture, qat_graph, qat) != (None, None, None, None, False):
        raise InvalidOption("--annotations, --calibration, --qat, --qat-graph and --picture go with --images FOLDER")
    own = None if checkpoint is None else Checkpoint(checkpoint, labels=labels, activation=activation)
    if has_ladder:
        if picture is not None:
            check_suffix(picture)
        if images is None and annotations is not None:
            raise InvalidOption("--annotations are of pictures: --images FOLDER")
        _check_qat(calibration, qat_graph, is_wanted=qat)
        pictures = _Pictures(images, annotations, calibration, FineTuning() if qat else qat_graph)
        _ladder(name or _EDGE_DETECTOR, own, pictures, seconds, picture, OthersLoad(), is_edge=is_edge)
    if images is None:
        chosen = name or _EDGE_SEGMENTER
        _network_alone(chosen, own, _sizes(sizes), iterations, seconds, OthersLoad(), latency=is_edge)


def _check_network(
    name: str | None, checkpoint: Path | None, sizes: str | None, images: Path | None, *, is_edge: bool, describes: bool
) -> None:
    """Of the network and its input; `describes` says whether a checkpoint is described."""
    if name is None and not is_edge:
        raise InvalidOption("name the network to measure; `reeltag models` lists them")
    if name is None and (checkpoint, sizes) != (None, None):
        raise InvalidOption("--checkpoint and --sizes are of a network: name it")
    if images is not None and sizes is not None:
        raise InvalidOption("--sizes is of the network alone; leave --images out")
    if checkpoint is None and describes:
        raise InvalidOption("--labels and --activation go with --checkpoint FILE")


def _check_qat(calibration: Path | None, graph: Path | None, *, is_wanted: bool) -> None:
    if is_wanted and calibration is None:
        raise InvalidOption("--qat trains on pictures; name a folder of them: --calibration FOLDER")
    if is_wanted and graph is not None:
        raise InvalidOption("--qat trains a graph, and --qat-graph names one that was trained: leave one out")


class _Pictures(NamedTuple):
    """What a ladder is measured, calibrated and trained on."""

    images: Path | None
    annotations: Path | None
    calibration: Path | None
    qat: FineTuning | Path | None


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


def _ladder(
    name: str,
    checkpoint: Checkpoint | None,
    pictures: _Pictures,
    seconds: float,
    picture: Path | None,
    load: OthersLoad,
    *,
    is_edge: bool,
) -> None:
    from exporters.bench.ladder_picture import draw_ladder

    ladder = (_camera_ladder if is_edge else _file_ladder)(name, checkpoint, pictures)
    title = f"{name}, from {'frame to boxes' if is_edge else 'JPEG to result'}"
    try:
        with progress.status(f"measuring {name}") as status:
            ladder.climb(seconds, lambda text: status.update(f"measuring {name}: {text}"))
    finally:
        _show(f"{title}; {ladder.setting}", ladder.table(), [*ladder.notes(), str(load)])
    if picture is not None:
        draw_ladder(ladder.rungs, picture, title=f"{title}: pictures a second", subtitle=ladder.setting)


def _file_ladder(name: str, checkpoint: Checkpoint | None, pictures: _Pictures) -> Ladder:
    from exporters.bench.ladder import open_ladder

    images, annotations, calibration, qat = pictures
    assert images is not None
    return open_ladder(name, checkpoint, images, annotations=annotations, calibration=calibration, qat=qat)


def _camera_ladder(name: str, checkpoint: Checkpoint | None, pictures: _Pictures) -> CameraLadder:
    from edge.pipeline.frame_path import open_frame_path
    from exporters.bench.camera_ladder import open_camera_ladder
    from reeltag.contract import SCORE_THRESHOLD

    images, annotations, calibration, qat = pictures
    return open_camera_ladder(
        name,
        checkpoint,
        images,
        lambda repository: open_frame_path(repository, SCORE_THRESHOLD),
        annotations=annotations,
        calibration=calibration,
        qat=qat,
    )


def _show(title: str, rows: list[dict[str, str]], notes: list[str]) -> None:
    if rows:
        results.print(table_of(title, rows))
        for note in notes:
            results.print(note, markup=False, soft_wrap=True)
