"""The pictures that a lower precision is measured and calibrated on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from reeltag.errors import InputError
from reeltag.frames import FORMATS, IMAGE_SUFFIXES, ImageError, View, decode_views

SUFFIXES = IMAGE_SUFFIXES
"""Files of a folder that are taken for pictures, in either case."""
MOST_PICTURES: Final = 128
"""More show no wider range of a network's tensors, and each takes a second or more."""


@dataclass(frozen=True)
class CalibrationSet:
    """Inputs like those that will be served; labels are not needed."""

    frames: npt.NDArray[np.uint8]
    """uint8 `(N, *input_shape)` RGB, fitted as the network takes them."""

    @property
    def count(self) -> int:
        """How many pictures there are; the shot detector's windows hold a hundred each."""
        return int(np.prod(self.frames.shape[:-3]))

    @property
    def sha256(self) -> str:
        """Of the fitted pixels in their order, so that names and encodings of files do not matter."""
        shape = ",".join(map(str, self.frames.shape))
        return hashlib.sha256(shape.encode() + np.ascontiguousarray(self.frames).tobytes()).hexdigest()

    def require(self, count: int, purpose: str) -> None:
        """Refuse a set that is too small.

        Raises:
            InputError: It has fewer than `count` pictures.
        """
        if self.count < count:
            raise InputError(f"{purpose} needs at least {count} calibration pictures; there are {self.count}")


def read_pictures(files: Sequence[Path], view: View) -> CalibrationSet:
    """Read encoded pictures and fit them into a network's input.

    Args:
        files: At least one; see `pictures_in`.
        view: Of the network.

    Raises:
        InputError: One cannot be read; the text names it.
    """
    frames = np.empty((len(files), view.height, view.width, 3), np.uint8)
    for file, frame in zip(files, frames, strict=True):
        _read_into(frame, file, view)
    return CalibrationSet(frames)


def chosen(files: Sequence[Path], most: int = MOST_PICTURES) -> list[Path]:
    """At most so many of the files, spread evenly over their order."""
    if len(files) <= most:
        return list(files)
    return [files[i * len(files) // most] for i in range(most)]


def _read_into(frame: npt.NDArray[np.uint8], file: Path, view: View) -> None:
    try:
        decode_views(file.read_bytes(), [view], [frame])
    except (OSError, ImageError) as error:
        raise InputError(f"the calibration picture {file} cannot be read: {error}") from error


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, by name.

    Raises:
        InputError: It is no folder, cannot be read, or has no picture.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise InputError(
            f"the pictures in {folder} cannot be read ({error.strerror}); give a folder of {FORMATS} images"
        ) from error
    if not files:
        raise InputError(f"there is no {FORMATS} image in {folder}")
    return files
