"""Files of class names."""

from __future__ import annotations

from pathlib import Path

from reeltag.errors import InputError


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names by index, from a text file with one a line.

    Raises:
        InputError: It cannot be read, or has empty or repeated lines.
    """
    try:
        names = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give a text file with one class name a line") from error
    if not names or not all(name.strip() for name in names) or len(set(names)) < len(names):
        raise InputError(f"{path} has empty or repeated lines; give a text file with one class name a line")
    return tuple(names)
