"""Writes the folders of a model repository atomically, and clears up after a writer that was killed."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from google.protobuf import text_format  # type: ignore[import-untyped,unused-ignore]  # without types-protobuf

from exporters.files import sha256_of
from exporters.publishing.configs import ModelConfig
from exporters.publishing.passport import PASSPORT_FILE, Passport, read_passport
from reeltag.contract import CARD_PARAMETER
from reeltag.errors import ModelRepositoryError

CONFIG_FILE: Final = "config.pbtxt"
PREVIOUS: Final = "previous"
"""In the folder of a network: the folder as it was before another version took its place, with the one before that."""
_WITHIN_PREFIX: Final = ".reeltag-"
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_NOT_BESIDE: Final = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EXDEV)
"""What goes wrong where the folder around the repository cannot be written or is of another file system."""


@dataclass(frozen=True)
class ModelFolder:
    """What a folder of the repository should hold."""

    config: ModelConfig
    files: Mapping[str, Path | bytes] = field(default_factory=dict)
    """By path in the folder, the file to copy, or its content."""
    said: Passport = field(default_factory=Passport)
    """Of the network in it; of other folders nothing but the fingerprint."""
    version: str = "1"
    """Triton's; the name of the folder inside that holds what is run, and of ensembles nothing."""

    @property
    def name(self) -> str:
        """Of the model, and so of the folder."""
        return str(self.config.name)

    @property
    def config_text(self) -> str:
        """Content of `config.pbtxt`."""
        return str(text_format.MessageToString(self.config))

    @cached_property
    def passport(self) -> Passport:
        """With a fingerprint that changes with anything that the folder should hold, but for measured speeds."""
        files = [f"{path}:{_sha256(source)}" for path, source in sorted(self.files.items())]
        said = [_without_speeds(self.config), self.version, str(self.said.turn), self.said.sha256]
        fingerprint = hashlib.sha256("\n".join([*said, *files]).encode()).hexdigest()
        return self.said.model_copy(update={"fingerprint": fingerprint})

    def is_current(self, target: Path) -> bool:
        """Whether the repository holds just this."""
        path = target / self.name
        try:
            sizes_agree = all((path / name).stat().st_size == _size(source) for name, source in self.files.items())
            said = read_passport(path)
            is_same = (said.fingerprint, said.sha256) == (self.passport.fingerprint, self.passport.sha256)
            is_whole = (path / CONFIG_FILE).is_file() and (path / self.version).is_dir()
            return is_same and sizes_agree and is_whole
        except (OSError, ModelRepositoryError):
            return False

    def replace(self, target: Path) -> None:
        """Write the folder elsewhere, then exchange it by renaming; the old one is served until then.

        Raises:
            ModelRepositoryError: A folder of that name was not written by reeltag.
            OSError: It cannot be written.
        """
        path = target / self.name
        if (path / CONFIG_FILE).is_file() and not (path / PASSPORT_FILE).is_file():
            raise ModelRepositoryError(
                f"{path} was not written by reeltag and is left alone; rename it, or name another repository"
            )
        try:
            self._exchange(path, _workshops_beside(target) / self.name, may_copy=False)
        except OSError as error:
            if error.errno not in _NOT_BESIDE:
                raise
            self._exchange(path, _workshop_within(target, self.name), may_copy=True)

    def write(self, path: Path) -> None:
        """Write it as a folder that is not there yet.

        Raises:
            OSError: It cannot be written.
        """
        (path / self.version).mkdir(parents=True)
        for name, source in self.files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, bytes):
                (path / name).write_bytes(source)
            else:
                shutil.copyfile(source, path / name)
        (path / CONFIG_FILE).write_text(self.config_text, "utf-8")
        (path / PASSPORT_FILE).write_text(f"{self.passport.model_dump_json(indent=2)}\n", "utf-8")

    def _exchange(self, path: Path, workshop: Path, *, may_copy: bool) -> None:
        old, new = workshop / "old", workshop / "new"
        try:
            self.write(new)
            if self.said.runtime:
                _keep(path, new / PREVIOUS, self.version)
            if not path.exists():
                new.rename(path)
            elif not _exchanged(new, path):
                _take_away(path, old, may_copy=may_copy)
                new.rename(path)
        finally:
            _recover(path, workshop)


def _keep(path: Path, previous: Path, version: str) -> None:
    """Keep of a network's folder what another version takes the place of: without room for it, of the same files."""
    is_other = not (path / version).is_dir()
    kept = path if is_other else path / PREVIOUS
    if not kept.is_dir():
        return

    def too_old(folder: str, names: list[str]) -> list[str]:
        depth = Path(folder).relative_to(kept).parts.count(PREVIOUS)
        return [name for name in names if name == "__pycache__" or (name == PREVIOUS and depth >= 1)]

    shutil.copytree(kept, previous, copy_function=_link, ignore=too_old)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
    return target


def _without_speeds(config: ModelConfig) -> str:
    """A configuration's text as it would be had nothing been timed: no two exports are of the same speed."""
    plain = type(config)()
    plain.CopyFrom(config)
    if CARD_PARAMETER in plain.parameters:
        card = json.loads(plain.parameters[CARD_PARAMETER].string_value)
        card["measured"] = {**(card.get("measured") or {}), "images_per_second": None, "machine": None}
        plain.parameters[CARD_PARAMETER].string_value = json.dumps(card)
    return str(text_format.MessageToString(plain))


def _sha256(source: Path | bytes) -> str:
    return hashlib.sha256(source).hexdigest() if isinstance(source, bytes) else sha256_of(source)


def _size(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two folders in one step, so that a Triton that looks never misses one; False where that is not possible.

    Without it Triton's index fails for as long as a folder is away.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    exchange = getattr(libc, "renameat2", None)  # Linux alone has it
    if exchange is None:
        return False
    if exchange(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV):
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def _take_away(path: Path, old: Path, *, may_copy: bool) -> None:
    """Move a folder; as a copy where it comes with the image of a container, whose folders cannot be renamed."""
    try:
        path.rename(old)
    except OSError as error:
        if error.errno != errno.EXDEV or not may_copy:
            raise
        copied = old.with_name("copied")
        shutil.copytree(path, copied)
        copied.rename(old)
        shutil.rmtree(path)


@contextmanager
def locked(target: Path, *, shared: bool = False) -> Iterator[None]:
    """Keep others from publishing into a repository; with `shared` others may read it at the same time."""
    folder = os.open(target, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def is_interrupted(target: Path) -> bool:
    """Whether a process was killed while it published; the repository must be `locked`."""
    return bool(_workshops_in(target))


def recover_all(target: Path) -> None:
    """Clear up after a process that was killed while it published; the repository must be `locked`."""
    for name, workshop in _workshops_in(target):
        _recover(target / name, workshop)


def _workshops_in(target: Path) -> list[tuple[str, Path]]:
    """Name of a model and its workshop, of all that are there."""
    beside = _workshops_beside(target)
    outside = [(workshop.name, workshop) for workshop in (beside.iterdir() if beside.is_dir() else ())]
    within = [(workshop.name.removeprefix(_WITHIN_PREFIX), workshop) for workshop in target.glob(f"{_WITHIN_PREFIX}*")]
    return [*outside, *within]


def _workshops_beside(target: Path) -> Path:
    """Outside the repository, where Triton does not look: in it, it takes every folder for a model."""
    repository = target.resolve()
    return repository.parent / f".{repository.name}.reeltag"


def _workshop_within(target: Path, name: str) -> Path:
    """Where nothing can be put beside the repository, or not be renamed from there, as when it is a volume."""
    return target / f"{_WITHIN_PREFIX}{name}"


def _recover(path: Path, workshop: Path) -> None:
    """Put back what an interrupted exchange took away, and clear up."""
    old, new = workshop / "old", workshop / "new"
    if old.exists() and (new.exists() or not path.exists()):
        if path.exists():  # what is left of it
            shutil.rmtree(path)
        old.rename(path)
    if workshop.exists():
        shutil.rmtree(workshop)
    if workshop.parent != path.parent:
        with suppress(OSError):  # it was never made, or has other workshops
            workshop.parent.rmdir()
