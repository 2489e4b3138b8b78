"""Pictures with a true class for each pixel: Cityscapes' folders, and plain ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from exporters.catalogue.entries import model_spec
from exporters.precision.calibration import SUFFIXES
from reeltag.areas import NO_CLASS, ClassMap
from reeltag.errors import InputError
from reeltag.frames import FORMATS

BATCH_SIZE: Final = 4
"""Pictures in one request: those of Cityscapes take two megabytes each."""
_PICTURE: Final = "_leftImg8bit.png"
_TRUTHS: Final = ("_gtFine_labelTrainIds.png", "_gtFine_labelIds.png")
_TRAIN_IDS: Final = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' label id of each of its 19 evaluated classes, by their index (`cityscapesscripts/helpers/labels.py`)."""
_LABEL_IDS: Final = 34
"""Cityscapes' label ids are 0 to 33; those that are not evaluated are not counted."""
_OUT_OF_RANGE: Final = 254


@dataclass(frozen=True)
class SegmentationDataset:
    """Pictures on disk, and a class map of each."""

    pictures: tuple[Path, ...]
    truths: tuple[Path, ...]
    """Of each picture, in the same order."""
    labels: tuple[str, ...]
    """Names of the true classes by index; empty where the class maps hold the network's own indexes."""

    @property
    def batch_count(self) -> int:
        """How many batches `batches` gives."""
        return -(-len(self.pictures) // BATCH_SIZE)

    def batches(self) -> Iterator[range]:
        """Indexes of pictures, `BATCH_SIZE` at a time."""
        for start in range(0, len(self.pictures), BATCH_SIZE):
            yield range(start, min(start + BATCH_SIZE, len(self.pictures)))

    def truth(self, index: int, classes: int) -> ClassMap:
        """A picture's true classes.

        Args:
            index: Of the picture.
            classes: How many there are.

        Returns:
            uint8 `(H, W)`: class indexes, and `NO_CLASS` for pixels that do not count.

        Raises:
            InputError: The file is no class map, or holds other values.
        """
        path = self.truths[index]
        stored = _read_map(path)
        of_label_ids = path.name.endswith(_TRUTHS[1])
        found = (_by_label_id() if of_label_ids else _by_index(classes))[stored]
        if (found == _OUT_OF_RANGE).any():
            value = int(stored[found == _OUT_OF_RANGE][0])
            known = f"Cityscapes' label ids, 0 to {_LABEL_IDS - 1}" if of_label_ids else f"0 to {classes - 1}"
            raise InputError(f"{path} holds the value {value}; there are {known}, and {NO_CLASS} for pixels to ignore")
        return found

    def class_indexes(self, labels: tuple[str, ...]) -> npt.NDArray[np.uint8]:
        """True class of each class index of a network, by equal names: uint8 `(256,)`, `NO_CLASS` where there is none.

        Raises:
            InputError: No name is one of the network's.
        """
        table = np.full(256, NO_CLASS, np.uint8)
        names = self.labels or labels
        for index, label in enumerate(labels):
            if label in names:
                table[index] = names.index(label)
        if (table == NO_CLASS).all():
            raise InputError(
                f"no class of the data set ({', '.join(names[:5])}, ...) is one of the network "
                f"({', '.join(labels[:5])}, ...); their names must be equal"
            )
        return table


def read_class_maps(pictures: Path, truths: Path, *, split: str = "val") -> SegmentationDataset:
    """Find pictures and their class maps.

    Two kinds of folders are taken: Cityscapes' (`leftImg8bit/<split>/<city>/*_leftImg8bit.png` with
    `gtFine/<split>/<city>/*_gtFine_labelIds.png` or `*_gtFine_labelTrainIds.png`), and any two folders of equally named
    files, where the class maps are PNG files that hold the network's class indexes.

    Args:
        pictures: Cityscapes' folder, its `leftImg8bit`, or one of pictures.
        truths: Cityscapes' folder, its `gtFine`, or one of class maps.
        split: Of Cityscapes: `train`, `val` or `test`.

    Raises:
        InputError: A folder is missing or empty, or pictures have no class map; the text names the first.
    """
    for folder in (pictures, truths):
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; give that of the pictures, and that of their class maps")
    root = _first_folder(pictures / "leftImg8bit" / split, pictures / split, pictures)
    found = sorted(root.rglob(f"*{_PICTURE}"))
    if found:
        truth_root = _first_folder(truths / "gtFine" / split, truths / split, truths)
        pairs = {picture: _cityscapes_truth(picture, root, truth_root) for picture in found}
        return _dataset(pairs, truth_root, _TRUTHS[1], model_spec("swiftnet_rn18").labels)
    plain = sorted(path for path in pictures.iterdir() if path.suffix.lower() in SUFFIXES)
    pairs = {picture: _existing(truths / f"{picture.stem}.png") for picture in plain}
    return _dataset(pairs, truths, ".png", ())


def _dataset(
    pairs: dict[Path, Path | None], truth_root: Path, ending: str, labels: tuple[str, ...]
) -> SegmentationDataset:
    if not pairs:
        raise InputError(f"there are no pictures; give Cityscapes' folder, or one of {FORMATS} images")
    missing = [picture for picture, truth in pairs.items() if truth is None]
    if missing:
        wanted = missing[0].name.removesuffix(_PICTURE).removesuffix(missing[0].suffix) + ending
        raise InputError(
            f"{len(missing)} of {len(pairs)} pictures have no class map in {truth_root}, "
            f"first {missing[0].name}, whose map would be {wanted}"
        )
    return SegmentationDataset(tuple(pairs), tuple(truth for truth in pairs.values() if truth is not None), labels)


def _first_folder(*folders: Path) -> Path:
    return next(folder for folder in folders if folder.is_dir())


def _cityscapes_truth(picture: Path, root: Path, truth_root: Path) -> Path | None:
    city = truth_root / picture.parent.relative_to(root)
    names = [picture.name.removesuffix(_PICTURE) + ending for ending in _TRUTHS]
    return next(filter(None, (_existing(city / name) for name in names)), None)


def _existing(path: Path) -> Path | None:
    return path if path.is_file() else None


def _read_map(path: Path) -> ClassMap:
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path} cannot be read as a class map ({error})") from error
    if values.ndim != 2 or values.dtype != np.uint8:
        raise InputError(f"{path} is no class map: give PNG files with one byte a pixel, not those in colour")
    return values


def _by_label_id() -> ClassMap:
    table = np.full(256, _OUT_OF_RANGE, np.uint8)
    table[:_LABEL_IDS] = table[NO_CLASS] = NO_CLASS
    table[list(_TRAIN_IDS)] = np.arange(len(_TRAIN_IDS))
    return table


def _by_index(classes: int) -> ClassMap:
    table = np.full(256, _OUT_OF_RANGE, np.uint8)
    table[:classes] = np.arange(classes)
    table[NO_CLASS] = NO_CLASS
    return table
