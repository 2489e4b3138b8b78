"""Files of class names."""

from __future__ import annotations

import codecs
from functools import cache
from pathlib import Path
from typing import Final

from reeltag.errors import InputError

_SYNSETS: Final = Path(__file__).parent / "labels" / "imagenet1k_synsets.txt"
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names by index, from a user's text file with one a line.

    Raises:
        InputError: It cannot be read, is empty, or has an empty or repeated line, which the text names.
    """
    try:
        names = lines_of(path)
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a text file with one class name a line") from error
    if problem := _problem(names):
        raise InputError(f"{path} {problem}; give a text file with one class name a line")
    return names


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """WordNet ids of ImageNet's thousand classes by index, such as `n01440764`; its folders are named so."""
    return tuple(_SYNSETS.read_text("utf-8").split())


def lines_of(path: Path) -> tuple[str, ...]:
    """Lines of a text file, without what editors put around them: byte-order mark, blanks, empty lines at the end.

    Raises:
        OSError: It cannot be read.
        UnicodeError: It is neither UTF-8 nor, with its mark, UTF-16.
    """
    data = path.read_bytes()
    text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def _problem(names: tuple[str, ...]) -> str:
    for number, name in enumerate(names, 1):
        if not name:
            return f"has nothing in line {number}"
        if (first := names.index(name) + 1) < number:
            return f"has {name!r} in lines {first} and {number}"
    return "" if names else "is empty"
