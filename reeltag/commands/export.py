"""`reeltag export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reeltag.commands.common import RepositoryOption, progress, repository_at, results
from reeltag.errors import InvalidOption, SetupError

if TYPE_CHECKING:
    from exporters.source import Source


def export(
    name: Annotated[str, typer.Argument(help="A network of the catalogue; see `reeltag models`.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Your weights, for a network that comes without any, such as yolox_s.")
    ] = None,
    num_classes: Annotated[int | None, typer.Option(help="Classes that the checkpoint tells apart.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Text file with the checkpoint's class names, one a line.")
    ] = None,
    size: Annotated[str | None, typer.Option(help="Input, pixels: 416, or ROWSxCOLUMNS such as 512x1024.")] = None,
    activation: Annotated[str | None, typer.Option(help="YOLOX: silu, mish or relu. Default: silu.")] = None,
    upsampling: Annotated[str | None, typer.Option(help="SwiftNet: bilinear or nearest. Default: bilinear.")] = None,
    model_repository: RepositoryOption = None,
) -> None:
    """Make a served model of a network: verify, lower its precision, measure what that loses, publish."""
    try:
        from exporters.checkpoint_source import Checkpoint, checkpoint_source
        from exporters.export import ExportOptions
        from exporters.export import export as export_source
        from exporters.source import bundled_source
    except ModuleNotFoundError as error:
        raise SetupError(f"exporting needs {error.name}; run: pip install 'reeltag[export]'") from error

    def source() -> Source:
        if checkpoint is None:
            if (num_classes, labels, size, activation, upsampling) != (None,) * 5:
                raise InvalidOption(
                    "--num-classes, --labels, --size, --activation and --upsampling go with --checkpoint FILE"
                )
            return bundled_source(name)
        sides = None if size is None else _rows_and_columns(size)
        own = Checkpoint(checkpoint, num_classes, labels, sides, activation, upsampling)
        return checkpoint_source(name, own)

    with progress.status(f"exporting {name}"):
        report = export_source(source(), ExportOptions(), target=repository_at(model_repository))
    results.print(str(report), markup=False, soft_wrap=True)


def _rows_and_columns(text: str) -> tuple[int, int]:
    """`416` or `512x1024` as rows and columns.

    Raises:
        InvalidOption: It is neither.
    """
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isdecimal() for side in sides):
        raise InvalidOption(f"--size {text} is no size; give 416, or ROWSxCOLUMNS such as 512x1024")
    return int(sides[0]), int(sides[-1])
