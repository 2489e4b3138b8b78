"""The encoded pictures that a detector or segmenter is measured on, with their boxes where these are known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from exporters.evaluation.coco import CocoDataset, read_coco
from exporters.precision.calibration import CalibrationSet, pictures_in, read_pictures
from reeltag.errors import InputError
from reeltag.frames import ImageError, View, decode_image


@dataclass(frozen=True)
class Album:
    """Pictures in memory, as a service gets them."""

    pictures: dict[int, bytes]
    """Encoded, by image id."""
    dataset: CocoDataset | None = None
    """Their boxes; none where accuracy is not measured."""

    @property
    def digests(self) -> set[str]:
        """SHA-256 of each file."""
        return {_digest(data) for data in self.pictures.values()}


def read_album(images: Path, annotations: Path | None) -> Album:
    """Read pictures, all of which can be decoded.

    Args:
        images: A folder.
        annotations: COCO JSON that lists the pictures and their boxes; without it all pictures of the folder are taken.

    Raises:
        InputError: There is no picture, one cannot be decoded, or the JSON is not COCO's; the text names it.
    """
    dataset = None if annotations is None else read_coco(images, annotations)
    files = dict(enumerate(pictures_in(images))) if dataset is None else dict(sorted(dataset.files.items()))
    return Album({key: _decodable(file) for key, file in files.items()}, dataset)


def read_calibration(folder: Path, view: View, album: Album) -> CalibrationSet:
    """Read the pictures to calibrate on, none of which may be among those to measure on.

    Raises:
        InputError: There is no picture, one cannot be decoded, or one is also in the album.
    """
    files = pictures_in(folder)
    measured = album.digests
    if shared := [file for file in files if _digest(_bytes_of(file)) in measured]:
        raise InputError(
            f"{len(shared)} of the {len(files)} calibration pictures in {folder} are also measured on, first "
            f"{shared[0].name}: the accuracy would look better than it is; calibrate on others, such as training "
            "pictures"
        )
    return read_pictures(files, view)


def _decodable(file: Path) -> bytes:
    data = _bytes_of(file)
    try:
        decode_image(data)
    except ImageError as error:
        raise InputError(f"{file} cannot be decoded: {error}") from error
    return data


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror})") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
