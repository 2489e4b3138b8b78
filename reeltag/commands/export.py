"""`reeltag export`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from reeltag.commands.common import RepositoryOption, progress, repository_at, results
from reeltag.errors import InvalidOption, SetupError
from reeltag.frames import Fit

if TYPE_CHECKING:
    from exporters.source import Source


class OwnTask(str, Enum):
    """What a user's network does."""

    DETECT = "detect"
    CLASSIFY = "classify"
    SEGMENT = "segment"


class ChannelOrder(str, Enum):
    """In which a network takes the colours."""

    RGB = "RGB"
    BGR = "BGR"


class Fitting(str, Enum):
    """As `frames.Fit`, spelled as options are."""

    LETTERBOX = "letterbox"
    LETTERBOX_TOP_LEFT = "letterbox-top-left"
    CENTER_CROP = "center-crop"


_BELONGS: Final = {
    "--checkpoint FILE": ("--num-classes", "--labels", "--size", "--activation", "--upsampling"),
    "--onnx FILE": ("--task", "--head", "--labels", "--size", "--mean", "--std", "--channel-order", "--fit"),
}
"""Which options go with a user's weights, and with a user's network."""


def export(
    name: Annotated[str, typer.Argument(help="A network of the catalogue, see `reeltag models`; or a name for yours.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Your weights, for a network that comes without any, such as yolox_s.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="Your network as ONNX; see docs/exporting.md.")] = None,
    task: Annotated[OwnTask | None, typer.Option(help="What the network in --onnx does.")] = None,
    head: Annotated[
        str | None,
        typer.Option(help="Whose outputs the detector in --onnx has: yolox, nanodet, ultralytics, or none to decode."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Text file with your network's class names, one a line.")] = None,
    num_classes: Annotated[int | None, typer.Option(help="Classes that the checkpoint tells apart.")] = None,
    size: Annotated[str | None, typer.Option(help="Input, pixels: 416, or ROWSxCOLUMNS such as 512x1024.")] = None,
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from red,green,blue, 0 to 255. Default: as the head was published.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="Red,green,blue are divided by it. Default: likewise.")] = None,
    channel_order: Annotated[ChannelOrder | None, typer.Option(help="Default: likewise.")] = None,
    fit: Annotated[Fitting | None, typer.Option(help="How pictures fill the input. Default: likewise.")] = None,
    activation: Annotated[str | None, typer.Option(help="YOLOX: silu, mish or relu. Default: silu.")] = None,
    upsampling: Annotated[str | None, typer.Option(help="SwiftNet: bilinear or nearest. Default: bilinear.")] = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Make a served model of a network: verify, lower its precision, measure what that loses, publish."""
    options = {
        **{"--num-classes": num_classes, "--activation": activation, "--upsampling": upsampling},
        **{"--task": task, "--head": head, "--labels": labels, "--channel-order": channel_order, "--fit": fit},
        "--size": None if size is None else _rows_and_columns(size),
        "--mean": None if mean is None else _channels("--mean", mean),
        "--std": None if std is None else _channels("--std", std),
    }
    given = {option: value for option, value in options.items() if value is not None}
    try:
        from exporters.export import ExportOptions
        from exporters.export import export as export_source

        with progress.status(f"exporting {name}"):
            source = _source(name, checkpoint, onnx, given)
            report = export_source(source, ExportOptions(), target=repository_at(model_repository))
    except ModuleNotFoundError as error:
        raise SetupError(f"exporting needs {error.name}; run: pip install 'reeltag[export]'") from error
    if source.notes:
        progress.print(source.notes, markup=False, soft_wrap=True)
    results.print(str(report), markup=False, soft_wrap=True)


def _source(name: str, checkpoint: Path | None, onnx: Path | None, given: dict[str, Any]) -> Source:
    """What is exported: the user's weights, the user's network, or one that comes with reeltag."""
    from exporters.checkpoint_source import Checkpoint, checkpoint_source
    from exporters.own_network import Brought, own_source
    from exporters.source import bundled_source

    if checkpoint is not None and onnx is not None:
        raise InvalidOption("--checkpoint and --onnx are two ways to bring a network; give one of them")
    files = {"--checkpoint FILE": checkpoint, "--onnx FILE": onnx}
    with_these = [option for option, file in files.items() if file is not None]
    for option in given:
        fitting = [file for file, belonging in _BELONGS.items() if option in belonging]
        if not set(fitting) & set(with_these):
            raise InvalidOption(f"{option} goes with {' or '.join(fitting)}")
    named = {option.removeprefix("--").replace("-", "_"): value for option, value in given.items()}
    if checkpoint is not None:
        return checkpoint_source(name, Checkpoint(checkpoint, **named))
    if onnx is None:
        return bundled_source(name)
    if missing := [option for option in ("--task", "--labels") if option not in given]:
        raise InvalidOption(f"--onnx FILE needs {' and '.join(missing)}")
    for option in ("task", "channel_order"):
        named |= {option: named[option].value} if option in named else {}
    if "fit" in named:
        named["fit"] = Fit(named["fit"].value.replace("-", "_"))
    return own_source(name, Brought(onnx, **named))


def _rows_and_columns(text: str) -> tuple[int, int]:
    """`416` or `512x1024` as rows and columns.

    Raises:
        InvalidOption: It is neither.
    """
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isdecimal() for side in sides):
        raise InvalidOption(f"--size {text} is no size; give 416, or ROWSxCOLUMNS such as 512x1024")
    return int(sides[0]), int(sides[-1])


def _channels(option: str, text: str) -> tuple[float, float, float]:
    """`127.5`, or `123.7,116.3,103.5` for red, green and blue.

    Raises:
        InvalidOption: It is neither.
    """
    try:
        red, *others = (float(part) for part in text.split(","))
        green, blue = others or (red, red)
    except ValueError as error:
        raise InvalidOption(
            f"{option} {text} is neither one number nor three such as 123.7,116.3,103.5 (red,green,blue)"
        ) from error
    return red, green, blue
