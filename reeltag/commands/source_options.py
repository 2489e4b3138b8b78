"""The panel of `reeltag export` that says which network is exported, and what its owner knows of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

import typer

from reeltag.errors import InvalidOption
from reeltag.frames import Fit

if TYPE_CHECKING:
    from exporters.progress import Progress
    from exporters.sources.checkpoint_source import Checkpoint
    from exporters.sources.source import Source

_BELONGS: Final = {
    "--checkpoint FILE": ("--num-classes", "--labels", "--size", "--activation", "--upsampling"),
    "--download": ("--labels", "--size"),
    "--onnx FILE": (
        *("--task", "--head", "--output", "--labels", "--size", "--preprocess", "--mean", "--std", "--channel-order"),
        *("--fit", "--crop-fraction", "--pad"),
    ),
}
"""Which options go with a user's weights, with published ones, and with a user's network."""


@dataclass(frozen=True)
class SourceOptions:
    """Which network is exported, and what its owner knows of it."""

    PANEL: ClassVar[str] = "Source: the network, as its owner has it"

    checkpoint: Annotated[
        Path | None, typer.Option(help="Your weights, for a network that comes without any, such as yolox_s.")
    ] = None
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the weights that were published of it, such as yolox_s's.")
    ] = False
    onnx: Annotated[Path | None, typer.Option(help="Your network as ONNX; see docs/exporting.md.")] = None
    task: Annotated[
        Literal["detect", "classify", "segment", "text"] | None,
        typer.Option(help="What the network in --onnx does; text is for plates, see docs/traffic.md."),
    ] = None
    head: Annotated[
        str | None,
        typer.Option(help="Whose outputs the detector in --onnx has: yolox, detr and others, see docs/exporting.md."),
    ] = None
    output: Annotated[
        list[str] | None,
        typer.Option(help="Output of --onnx that is served, where several could be: boxes, then scores, then classes."),
    ] = None
    network: Annotated[
        str | None, typer.Option(help="Of the catalogue, where NAME is one of your own: so two yolox_s can be served.")
    ] = None
    labels: Annotated[Path | None, typer.Option(help="Text file with your network's class names, one a line.")] = None
    num_classes: Annotated[int | None, typer.Option(help="Classes that the checkpoint tells apart.")] = None
    size: Annotated[str | None, typer.Option(help="Input, pixels: 416, or ROWSxCOLUMNS such as 512x1024.")] = None
    preprocess: Annotated[
        Literal["imagenet", "ultralytics", "yolox"] | None,
        typer.Option(help="Whose --mean, --std, --channel-order and --fit. Default: as the head was published."),
    ] = None
    mean: Annotated[
        str | None, typer.Option(help="Subtracted from red,green,blue, 0 to 255. Default: as the head was published.")
    ] = None
    std: Annotated[str | None, typer.Option(help="Red,green,blue are divided by it. Default: likewise.")] = None
    channel_order: Annotated[Literal["RGB", "BGR"] | None, typer.Option(help="Default: likewise.")] = None
    fit: Annotated[
        Literal["letterbox", "letterbox-top-left", "stretch", "center-crop"] | None,
        typer.Option(help="How pictures fill the input. Default: likewise."),
    ] = None
    crop_fraction: Annotated[
        float | None, typer.Option(help="Of --fit center-crop: 0.875 for 224 of 256 pixels. Default: likewise.")
    ] = None
    pad: Annotated[
        str | None, typer.Option(help="Letterbox's border: a grey level or red,green,blue. Default: likewise.")
    ] = None
    activation: Annotated[
        str | None, typer.Option(help="YOLOX: silu, leaky_relu, mish, relu. Default: as published.")
    ] = None
    upsampling: Annotated[str | None, typer.Option(help="SwiftNet: bilinear or nearest. Default: bilinear.")] = None

    def fetched(self, name: str, progress: Progress) -> Checkpoint | None:
        """The published weights, where they are wanted; they take a while if they are not in the cache.

        Raises:
            UnknownModel: The catalogue has no such network.
            InvalidOption: An option goes with another file, the name is taken, or none are published.
            SetupError: They cannot be downloaded.
        """
        self._given()
        self._check_name(name)
        if not self.download:
            return None
        from exporters.sources.checkpoint_source import published_checkpoint

        return published_checkpoint(self.network or name, progress=progress)

    def _check_name(self, name: str) -> None:
        """Before anything is read: a name of the catalogue, or of the user's beside one."""
        from exporters.catalogue.entries import model_spec
        from exporters.sources.names import check_own_name

        if self.network is not None and self.onnx is not None:
            raise InvalidOption("--network is of the catalogue, and --onnx brings another; leave one of them out")
        if self.network is not None and self.network != name:
            model_spec(self.network)
            check_own_name(name)
        elif self.onnx is None and self.checkpoint is not None:
            from exporters.sources.checkpoint import check_catalogued

            check_catalogued(name, self.checkpoint)

    def source(self, name: str, fetched: Checkpoint | None = None) -> Source:
        """What is exported: the user's weights, published ones, the user's network, or one that comes with reeltag.

        Args:
            name: Of the network, in the catalogue or of the user's.
            fetched: The published weights.

        Raises:
            InvalidOption: An option goes with another file, or is missing.
            InputError: The file does not fit.
        """
        from exporters.sources.brought.own_network import own_source
        from exporters.sources.brought.settled import Brought
        from exporters.sources.source import bundled_source

        given = self._given()
        named = {option.removeprefix("--").replace("-", "_"): value for option, value in given.items()}
        network = self.network or name
        if self.checkpoint is None and fetched is None and self.onnx is None:
            return bundled_source(network).named(name)  # which needs no PyTorch
        if self.onnx is not None:
            return own_source(name, Brought(self.onnx, outputs=named.pop("output", ()), **named))
        from exporters.sources.checkpoint_source import Checkpoint, checkpoint_source

        if self.checkpoint is not None:
            return checkpoint_source(network, Checkpoint(self.checkpoint, **named)).named(name)
        assert fetched is not None
        return checkpoint_source(network, replace(fetched, **named)).named(name)

    def text(self, name: str, target: Path) -> str:
        """Export a text recogniser, which is made otherwise than what Triton serves.

        Raises:
            InputError: The file does not fit, or an option does not go with it.
            SetupError: What was made disagrees with it.
        """
        from exporters.texts import TextOptions, export_text

        given = self._given()
        taken = {"--labels", "--size", "--mean", "--std", "--channel-order"}
        if self.onnx is None:
            raise InvalidOption("--task text goes with --onnx FILE")
        for option in given.keys() - taken - {"--task"}:
            raise InvalidOption(f"{option} does not go with --task text; there are: {', '.join(sorted(taken))}")
        named = {option[2:].replace("-", "_"): value for option, value in given.items() if option != "--task"}
        return export_text(name, TextOptions(self.onnx, **named), target)

    def _given(self) -> dict[str, Any]:
        """What was said of the user's file, by option; each goes with that kind of file."""
        files = {"--checkpoint FILE": self.checkpoint, "--download": self.download or None, "--onnx FILE": self.onnx}
        with_these = [option for option, file in files.items() if file is not None]
        if len(with_these) > 1:
            raise InvalidOption(f"{' and '.join(with_these)} are two ways to bring a network; give one of them")
        said = {
            **{"--num-classes": self.num_classes, "--activation": self.activation, "--upsampling": self.upsampling},
            **{"--task": self.task, "--head": self.head, "--labels": self.labels, "--preprocess": self.preprocess},
            **{"--channel-order": self.channel_order, "--fit": self.fit and Fit(self.fit.replace("-", "_"))},
            **{"--output": listed(self.output), "--crop-fraction": self.crop_fraction},
            "--size": self.size and rows_and_columns(self.size),
            "--pad": self.pad and colour(self.pad),
            "--mean": self.mean and channels("--mean", self.mean),
            "--std": self.std and channels("--std", self.std),
        }
        given = {option: value for option, value in said.items() if value is not None}
        for option in given:
            fitting = [file for file, belonging in _BELONGS.items() if option in belonging]
            if not set(fitting) & set(with_these):
                raise InvalidOption(f"{option} goes with {' or '.join(fitting)}")
        return given


def rows_and_columns(text: str) -> tuple[int, int]:
    """`416` or `512x1024` as rows and columns.

    Raises:
        InvalidOption: It is neither.
    """
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isdecimal() for side in sides):
        raise InvalidOption(f"--size {text} is no size; give 416, or ROWSxCOLUMNS such as 512x1024")
    return int(sides[0]), int(sides[-1])


def listed(given: list[str] | None) -> tuple[str, ...] | None:
    """Names that were given one by one, or with commas between them."""
    return tuple(name.strip() for text in given for name in text.split(",") if name.strip()) if given else None


def colour(text: str) -> tuple[int, int, int]:
    """`114`, or `124,116,104` for red, green and blue.

    Raises:
        InvalidOption: It is neither.
    """
    levels = [level.strip() for level in text.split(",")]
    if len(levels) not in (1, 3) or not all(level.isdecimal() and int(level) <= 255 for level in levels):
        raise InvalidOption(f"--pad {text} is no colour; give a grey level such as 114, or red,green,blue, 0 to 255")
    red, green, blue = (int(level) for level in (levels * 3)[:3])
    return red, green, blue


def channels(option: str, text: str) -> tuple[float, float, float]:
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
