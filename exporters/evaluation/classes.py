"""Pictures with one true class each: in a folder for each class as ImageNet has them, or named in a list."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporters.catalogue.class_names import imagenet_synsets, lines_of
from exporters.evaluation.coco import BATCH_SIZE
from exporters.precision.calibration import SUFFIXES
from reeltag.errors import InputError
from reeltag.frames import FORMATS

_FORMS: Final = (
    "a class list holds a picture and its class in each line (`cat1.jpg tabby cat`, with a tab between them where the "
    'file\'s name has spaces), in a CSV the columns file,class, and in a JSON {"cat1.jpg": "tabby cat"}'
)
_SYNSET: Final = r"n\d{8}"
"""Id of a noun in WordNet, as ImageNet's folders are named."""
_NAMED: Final = 3
"""How many of many names an error holds."""


@dataclass(frozen=True)
class ClassificationDataset:
    """Pictures on disk, and the class of each."""

    pictures: tuple[Path, ...]
    truths: tuple[str, ...]
    """Of each picture: a class's name, its index, or of ImageNet's its WordNet id."""

    @property
    def batch_count(self) -> int:
        """How many batches `batches` gives."""
        return -(-len(self.pictures) // BATCH_SIZE)

    def batches(self) -> Iterator[range]:
        """Indexes of pictures, `BATCH_SIZE` at a time."""
        for start in range(0, len(self.pictures), BATCH_SIZE):
            yield range(start, min(start + BATCH_SIZE, len(self.pictures)))

    def class_indexes(self, labels: Sequence[str]) -> dict[str, int]:
        """Class index of a network for each of the truths that it knows.

        Truths are names of the network; where none is, they are class indexes, or WordNet ids of a network with
        ImageNet's thousand classes in their order.

        Raises:
            InputError: They are none of these; the text says what was found.
        """
        truths = dict.fromkeys(self.truths)
        by_name = {label: index for index, label in enumerate(labels)}
        if named := {truth: by_name[truth] for truth in truths if truth in by_name}:
            return named
        if all(truth.isdecimal() for truth in truths):
            return _numbered(truths, len(labels))
        synsets = imagenet_synsets()
        if len(labels) == len(synsets) and all(re.fullmatch(_SYNSET, truth) for truth in truths):
            by_name = {synset: index for index, synset in enumerate(synsets)}
            if known := {truth: by_name[truth] for truth in truths if truth in by_name}:
                return known
        raise InputError(
            f"no class of the pictures ({_some(list(truths))}) is one of the network ({_some(labels)}); their names "
            f"must be equal, or be class indexes from 0 to {len(labels) - 1}, or for ImageNet's classes WordNet ids"
        )


def read_classes(images: Path, annotations: Path | None = None) -> ClassificationDataset:
    """Find pictures and their classes.

    Args:
        images: Without `annotations` a folder that has one sub-folder a class with its pictures in it, as ImageNet;
            otherwise where the files of the list are.
        annotations: A text file with a picture and its class in each line (as ILSVRC's `val.txt`), a CSV with the
            columns file and class, or a JSON object of classes by file.

    Raises:
        InputError: A file or folder is missing or empty, or the list is none of these; the text names it.
    """
    if not images.is_dir():
        raise InputError(f"{images} is no folder; give that of the pictures")
    try:
        pairs = _by_folder(images) if annotations is None else _listed(images, annotations)
    except OSError as error:
        raise InputError(f"the pictures in {images} cannot be read ({error.strerror})") from error
    return ClassificationDataset(tuple(picture for picture, _ in pairs), tuple(truth for _, truth in pairs))


def _by_folder(images: Path) -> list[tuple[Path, str]]:
    folders = sorted(path for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
    pairs = [
        (picture, folder.name)
        for folder in folders
        for picture in sorted(folder.rglob("*"))
        if picture.suffix.lower() in SUFFIXES and picture.is_file()
    ]
    if not pairs:
        found = f"its sub-folders ({_some([folder.name for folder in folders])})" if folders else "sub-folders"
        raise InputError(
            f"{images} has no {FORMATS} images in {found}; without --annotations each class has one, with "
            "its pictures in it and the class as its name"
        )
    return pairs


def _listed(images: Path, annotations: Path) -> list[tuple[Path, str]]:
    try:
        lines = lines_of(annotations)
    except (OSError, UnicodeError) as error:
        raise InputError(f"{annotations} cannot be read as text ({error}); {_FORMS}") from error
    rows = {".json": _json_rows, ".csv": _csv_rows}.get(annotations.suffix.lower(), _lines)(annotations, lines)
    if rows and annotations.suffix.lower() == ".csv" and not _is_picture(images, rows[0][0]):
        rows = rows[1:]  # the names of the columns
    if not rows:
        raise InputError(f"{annotations} lists no pictures; {_FORMS}")
    seen: set[str] = set()
    for file, truth in rows:
        if not truth:
            raise InputError(f"{annotations} gives {file} no class; {_FORMS}")
        if file in seen:
            raise InputError(f"{annotations} lists {file} twice; a picture has one class")
        seen.add(file)
    missing = [file for file, _ in rows if not (images / file).is_file()]
    if missing:
        raise InputError(f"{len(missing)} of {len(rows)} pictures are not in {images}, first {missing[0]}")
    return [(images / file, truth) for file, truth in rows]


def _is_picture(images: Path, file: str) -> bool:
    return Path(file).suffix.lower() in SUFFIXES or (images / file).is_file()


def _json_rows(path: Path, lines: Sequence[str]) -> list[tuple[str, str]]:
    try:
        content = json.loads("\n".join(lines))
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); {_FORMS}") from error
    if not isinstance(content, dict) or not all(isinstance(value, str | int) for value in content.values()):
        raise InputError(f"{path} does not give each picture one class; {_FORMS}")
    return [(file, str(value).strip()) for file, value in content.items()]


def _csv_rows(path: Path, lines: Sequence[str]) -> list[tuple[str, str]]:
    try:
        rows = [row for row in csv.reader(lines, strict=True, skipinitialspace=True) if row]
    except csv.Error as error:
        raise InputError(f"{path} is no CSV ({error}); {_FORMS}") from error
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise InputError(f"{path} has {len(row)} columns in row {number}, not 2; {_FORMS}")
    return [(file, truth.strip()) for file, truth in rows]


def _lines(path: Path, lines: Sequence[str]) -> list[tuple[str, str]]:
    """A tab, or else the first space, ends the file's name."""
    rows = []
    for number, line in enumerate(lines, 1):
        parts = line.split("\t" if "\t" in line else None, 1)
        if len(parts) == 1:
            raise InputError(f"{path} has {line!r} in line {number}; {_FORMS}")
        if parts:
            rows.append((parts[0], parts[1].strip()))
    return rows


def _numbered(truths: Iterable[str], classes: int) -> dict[str, int]:
    indexes = {truth: int(truth) for truth in truths}
    if (largest := max(indexes.values())) >= classes:
        raise InputError(f"class {largest} is given to a picture; the network has the classes 0 to {classes - 1}")
    return indexes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
