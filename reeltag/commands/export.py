"""`reeltag export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reeltag.commands.common import RepositoryOption, progress, repository_at, results
from reeltag.errors import InvalidOption


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

    target = repository_at(model_repository)
    if checkpoint is None and (num_classes, labels, size, activation) != (None,) * 4:
        raise InvalidOption("--num-classes, --labels, --size and --activation go with --checkpoint FILE")
    if checkpoint is not None and len(names) != 1:
        raise InvalidOption(f"--checkpoint belongs to one network, not to {len(names)}")
    for name in names:
        with progress.status(f"exporting {name}"):
            if checkpoint is None:
                report = export_model(name, target=target, onnx_file=onnx)
            else:
                sides = None if size is None else (size, size)
                own = Checkpoint(checkpoint, num_classes, labels, sides, activation)
                report = export_checkpoint(name, own, target=target)
        results.print(report, markup=False, soft_wrap=True)
