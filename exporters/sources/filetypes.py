"""What a file is by its first bytes, so that a mix-up is named instead of failing somewhere inside a library."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

CHECKPOINT: Final = "a checkpoint of PyTorch"
ONNX: Final = "an ONNX file"
CUT_OFF: Final = "an archive that is cut off"
"""Such as a checkpoint of PyTorch that was not copied whole."""
_PICKLE: Final = tuple(b"\x80" + bytes([protocol]) for protocol in (2, 3, 4, 5))
_MAGIC: Final = (
    (0, b"ptrt", "a TensorRT plan"),
    (0, b"ftrt", "a TensorRT plan"),
    (4, b"TFL3", "a TensorFlow Lite file"),
    (0, b"\x89HDF", "a Keras or HDF5 file"),
    (0, b"<?xml", "an XML file"),
    (0, b"version https://git-lfs", "a pointer of Git LFS: fetch the file itself with git lfs pull"),
)
_PEEKED_BYTES: Final = 64
_ONNX_IR_VERSION_FIELD: Final = 0x08
_LARGEST_IR_VERSION: Final = 32


def kind_of(path: Path) -> str:
    """What a file seems to be, for people; `CHECKPOINT`, `ONNX`, `CUT_OFF`, or empty where nothing is recognised.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_PEEKED_BYTES)
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(path)
    if head.startswith(_PICKLE):
        return CHECKPOINT
    # A protobuf message has no magic: of ONNX the first field is the version of its format.
    is_onnx = len(head) > 2 and head[0] == _ONNX_IR_VERSION_FIELD and 0 < head[1] <= _LARGEST_IR_VERSION
    return ONNX if is_onnx else ""


def _kind_of_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return CUT_OFF
    if any(name.endswith("/code/__torch__.py") or "/code/" in name for name in names):
        return "a TorchScript archive"
    return CHECKPOINT if any(name.endswith("data.pkl") for name in names) else "a ZIP archive"
