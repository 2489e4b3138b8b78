"""Which network `reeltag export` makes a model of: the options that bring a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reeltag.errors import InvalidOption
from reeltag.frames import Fit

if TYPE_CHECKING:
    from exporters.sources.source import Source

_BELONGS: Final = {
    "--checkpoint FILE": ("--num-classes", "--labels", "--size", "--activation", "--upsampling"),
    "--onnx FILE": ("--task", "--head", "--labels", "--size", "--mean", "--std", "--channel-order", "--fit"),
}
"""Which options go with a user's weights, and with a user's network."""


def source_of(name: str, checkpoint: Path | None, onnx: Path | None, given: dict[str, Any]) -> Source:
    """What is exported: the user's weights, the user's network, or one that comes with reeltag.

    Args:
        name: Of the network.
        checkpoint: The user's weights.
        onnx: The user's network.
        given: The other options that were given, by name such as `--labels`.

    Raises:
        InvalidOption: An option goes with another file, or is missing.
        InputError: The file does not fit.
    """
    from exporters.sources.brought.own_network import Brought, own_source
    from exporters.sources.checkpoint_source import Checkpoint, checkpoint_source
    from exporters.sources.source import bundled_source

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
    if "fit" in named:
        named["fit"] = Fit(named["fit"].replace("-", "_"))
    return own_source(name, Brought(onnx, **named))


def rows_and_columns(text: str) -> tuple[int, int]:
    """`416` or `512x1024` as rows and columns.

    Raises:
        InvalidOption: It is neither.
    """
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isdecimal() for side in sides):
        raise InvalidOption(f"--size {text} is no size; give 416, or ROWSxCOLUMNS such as 512x1024")
    return int(sides[0]), int(sides[-1])


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
