"""Finds images and videos in files and folders, and gives each the name of its results."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Final

from reeltag.errors import InputError
from reeltag.frames import IMAGE_SUFFIXES, SIGNATURE_BYTES, looks_like_image
from vod.stores.names import result_name, shown

VIDEO_SUFFIXES: Final = frozenset(
    {".mp4", ".m4v", ".mp4v", ".mov", ".qt", ".mkv", ".mk3d", ".webm", ".avi", ".divx", ".ts", ".mts", ".m2ts", ".m2t"}
    | {".tp", ".trp", ".tod", ".mod", ".mpg", ".mpeg", ".mpe", ".mpv", ".m1v", ".m2v", ".m2p", ".ps", ".vob", ".vro"}
    | {".evo", ".wmv", ".asf", ".wm", ".wtv", ".dvr-ms", ".flv", ".f4v", ".3gp", ".3gpp", ".3g2", ".3gp2", ".ogv"}
    | {".ogm", ".mxf", ".gxf", ".lxf", ".y4m", ".dv", ".dif", ".h261", ".h263", ".h264", ".264", ".avc", ".jsv"}
    | {".h265", ".265", ".hevc", ".h266", ".266", ".vvc", ".ivf", ".obu", ".av1", ".mjpg", ".mjpeg", ".mj2", ".mjp2"}
    | {".rm", ".rmvb", ".nut", ".nuv", ".amv", ".vc1", ".vc2", ".drc", ".cavs", ".avs2", ".swf", ".roq", ".smk"}
    | {".bik", ".fli", ".flc", ".mve", ".cdxl", ".ismv", ".isma", ".ty", ".xesc", ".thp", ".vp6", ".viv"}
)
_ALSO_TEXT: Final = frozenset({".ts", ".mts", ".mod", ".ps"})
"""Suffixes that programs and documents have, too."""
_ALSO_JPEG: Final = frozenset({".mjpg", ".mjpeg"})
"""Suffixes of videos that begin as a picture does."""
_ODD: Final = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Kind(str, Enum):
    """What a file is taken for."""

    IMAGE = "image"
    VIDEO = "video"
    BROKEN = "broken"
    """It cannot be tagged; `Input.reason` says why."""
    OTHER = "other"
    """Neither image nor video, found in a folder."""


@dataclass(frozen=True)
class Input:
    """One file to tag."""

    path: Path
    """As it was given, or as it was found below the folder that was given."""
    kind: Kind
    name: PurePath
    """Where its results go, below the output folder, without their endings."""
    reason: str = ""
    """Why it is broken or other."""
    earlier: tuple[PurePath, ...] = ()
    """Names that its results may have had in reeltag before 0.2, which depended on the run."""


def find_inputs(paths: Sequence[Path], out: Path | None = None) -> list[Input]:
    """Find the files to tag: those named, and in folders those that are images or videos, in sorted order.

    Hidden files and folders are left out, links to folders are followed, each folder once. What cannot be tagged is
    found as `BROKEN`, so that it fails by name.

    Args:
        paths: Files and folders; a file that comes twice is taken once.
        out: The output folder, which is not searched unless it is named itself.

    Raises:
        InputError: There is nothing at any of the paths.
    """
    if not any(os.path.lexists(path) for path in paths):
        names = ", ".join(shown(path) for path in paths)
        raise InputError(f"{names} does not exist; name images, videos or folders of them")
    is_source = out is not None and any(os.path.realpath(path) == os.path.realpath(out) for path in paths)
    search, found = _Search(None if is_source else out), dict[PurePath, Input]()
    for path in paths:
        for each in search.below(path) if _is_folder(path) else [_named(path)]:
            is_link = each.kind is not Kind.BROKEN and each.path.is_symlink()
            found.setdefault(result_name(Path(os.path.realpath(each.path))) if is_link else each.name, each)
    return list(found.values())


class _Search:
    def __init__(self, out: Path | None) -> None:
        self._entered: set[tuple[int, int]] = set()
        if out is not None and out.exists():
            self._enters(out)

    def below(self, root: Path) -> Iterator[Input]:
        """What is in a folder and in those below it, unless it was entered before."""
        real = PurePath(os.path.realpath(root))
        waiting: list[tuple[Iterator[Path], PurePath]] = [(iter([root]), real.parent)]
        while waiting:
            paths, folder = waiting[-1]
            path = next(paths, None)
            if path is None:
                waiting.pop()
            elif not _is_folder(path):
                yield _found(path, root, result_name(path, folder))
            elif self._enters(path):
                here = PurePath(os.path.realpath(path)) if path == root or path.is_symlink() else folder / path.name
                try:
                    waiting.append((iter(_listed(path)), here))
                except OSError as error:
                    reason = f"the folder cannot be read: {error.strerror}"
                    yield Input(path, Kind.BROKEN, result_name(path, folder), reason)

    def _enters(self, folder: Path) -> bool:
        try:
            status = folder.stat()
        except OSError:
            return False  # it was removed meanwhile
        key = status.st_dev, status.st_ino
        is_new = key not in self._entered
        self._entered.add(key)
        return is_new


def _listed(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [folder / name for name in sorted(entry.name for entry in entries) if not name.startswith(".")]


def _named(path: Path) -> Input:
    kind, reason = _judged(path, in_folder=False)
    # What was named is not passed over: it may be a video without a suffix.
    kind = Kind.VIDEO if kind is Kind.OTHER else kind
    return Input(path, kind, result_name(path), reason, (PurePath(path.stem), PurePath(path.name)))


def _found(path: Path, root: Path, name: PurePath) -> Input:
    kind, reason = _judged(path, in_folder=True)
    if kind is Kind.BROKEN and _kind_by_suffix(path) is Kind.OTHER:
        kind = Kind.OTHER
    relative = path.relative_to(root)
    return Input(path, kind, name, reason, (relative.with_suffix(""), relative))


def _judged(path: Path, *, in_folder: bool) -> tuple[Kind, str]:
    """What a file is, and why it is not tagged; nothing is opened that would make the reader wait."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        what = "it does not exist, or is a link to nothing" if isinstance(error, FileNotFoundError) else error.strerror
        return Kind.BROKEN, str(what)
    if not stat.S_ISREG(mode):
        return Kind.BROKEN, odd_file(mode)
    return kind_of(path, _beginning(path), in_folder=in_folder)


def odd_file(mode: int) -> str:
    """Why something that is no regular file is not tagged, by its mode."""
    what = _ODD.get(stat.S_IFMT(mode), "something else")
    return f"it is {what}, not a file; write what comes from it into one first"


def kind_of(path: PurePath, beginning: bytes, *, in_folder: bool) -> tuple[Kind, str]:
    """What a file is by its name and its first `SIGNATURE_BYTES`, and why it is not tagged.

    A name's suffix can be wrong, so that the content decides between image and video; in a folder it decides no more
    than that, as many kinds of files begin as pictures do (a camera's raw files as a TIFF).
    """
    kind = _kind_by_suffix(path)
    suffix = path.suffix.lower()
    if looks_like_image(beginning) and suffix not in _ALSO_JPEG and (kind is not Kind.OTHER or not in_folder):
        kind = Kind.IMAGE
    elif kind is Kind.IMAGE and _looks_like_video(beginning):
        kind = Kind.VIDEO
    elif suffix in _ALSO_TEXT and _is_text(beginning):
        kind = Kind.OTHER
    return kind, f"{shown(suffix) or 'no suffix'}: neither image nor video" if kind is Kind.OTHER else ""


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # its name is too long, or the folder above cannot be entered
        return False


def _kind_by_suffix(path: PurePath) -> Kind:
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return Kind.IMAGE
    return Kind.VIDEO if suffix in VIDEO_SUFFIXES else Kind.OTHER


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(SIGNATURE_BYTES)
    except OSError:
        return b""  # reading it will fail again, by name


def _looks_like_video(beginning: bytes) -> bool:
    """Of the containers that files of pictures' names hold in practice: MP4, Matroska and AVI."""
    return (
        beginning[4:8] == b"ftyp"
        or beginning.startswith(b"\x1a\x45\xdf\xa3")
        or (beginning.startswith(b"RIFF") and beginning[8:12] == b"AVI ")
    )


def _is_text(beginning: bytes) -> bool:
    return bool(beginning) and all(byte >= 0x20 or byte in b"\t\n\r" for byte in beginning)
