"""Files of class names."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from reeltag.errors import InputError

_SYNSETS: Final = Path(__file__).parent / "labels" / "imagenet1k_synsets.txt"


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names by index, from a text file with one a line.

    Raises:
        InputError: It cannot be read, is empty, or has an empty or repeated line, which the text names.
    """
    try:
        names = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a text file with one class name a line") from error
    if problem := _problem(names):
        raise InputError(f"{path} {problem}; give a text file with one class name a line")
    return tuple(names)


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """WordNet ids of ImageNet's thousand classes by index, such as `n01440764`; its folders are named so."""
    return tuple(_SYNSETS.read_text("utf-8").split())


def _problem(names: list[str]) -> str:
    for number, name in enumerate(names, 1):
        if not name.strip():
            return f"has nothing in line {number}"
        if (first := names.index(name) + 1) < number:
            return f"has {name!r} in lines {first} and {number}"
    return "" if names else "is empty"
