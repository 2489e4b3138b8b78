"""What clients uploaded, as files: a folder for each tenant, and in it one for each upload.

`<root>/<tenant>/<id>/about.json` says how long it will be, `content` is what came so far: its size is where the upload
goes on, so that nothing else has to be kept in step with it, whatever dies when.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from reeltag.errors import Overloaded, SetupError, SourceRefused, UploadNotFound
from reeltag.settings import Settings

SCHEME: Final = "upload:"
"""Before the id of an upload, where a source of a job is asked."""
_ID: Final = re.compile(r"[0-9a-f]{32}")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOBODY: Final = "-"
"""Folder of uploads without a key; no tenant's name begins with it."""
_ABOUT, _CONTENT = "about.json", "content"
_COMING: Final = ".coming-"
_SPARE_BYTES: Final = 1 << 30
"""That must be left on the disk."""
_HOUR: Final = 3600.0


class About(BaseModel):
    """What was said of an upload when it was begun."""

    model_config = ConfigDict(frozen=True)

    length: int
    """Bytes."""
    name: str
    """Of the file; without folders."""
    metadata: str = ""
    """As the client sent it."""
    created: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class StoredUpload:
    """An upload that is there."""

    id: str
    about: About
    folder: Path

    @property
    def content(self) -> Path:
        """The file."""
        return self.folder / _CONTENT

    @property
    def offset(self) -> int:
        """Bytes that came so far."""
        return self.content.stat().st_size

    @property
    def is_finished(self) -> bool:
        """Whether it is all there."""
        return self.offset == self.about.length


class UploadFolder:
    """The uploads of all tenants; any number of processes may use it at one time. Every method may block.

    Args:
        root: Folder; made when it is needed.
        most: Uploads that a tenant may have.
        unfinished_hours: How long one is kept that does not go on.
        finished_days: How long one is kept that is all there.
    """

    def __init__(
        self, root: Path, *, most: int = 1000, unfinished_hours: float = 72.0, finished_days: float = 30.0
    ) -> None:
        self._root = root
        self._most = most
        self._kept_seconds = {False: unfinished_hours * _HOUR, True: finished_days * 24 * _HOUR}

    @classmethod
    def of(cls, settings: Settings) -> UploadFolder:
        """That of a gateway and of its workers."""
        return cls(
            settings.uploads_root,
            most=settings.max_uploads,
            unfinished_hours=settings.upload_hours,
            finished_days=settings.retention_days,
        )

    def create(self, tenant: str, length: int, name: str, metadata: str = "") -> StoredUpload:
        """Begin one.

        Raises:
            Overloaded: The tenant has as many as it may, or the disk is full.
            SetupError: The folder cannot be written.
        """
        try:
            return self._created(tenant, length, name, metadata)
        except OSError as error:
            raise SetupError(f"{self._root} cannot be written ({error.strerror}); set REELTAG_STATE_DIR") from error

    def _created(self, tenant: str, length: int, name: str, metadata: str) -> StoredUpload:
        folder = self._folder(tenant)
        for each in (self._root.parent, self._root, folder):  # parents would get another mode
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        if sum(1 for one in folder.iterdir() if _ID.fullmatch(one.name)) >= self._most:
            text = f"{self._most:,} uploads are there, which are all that may be: remove some, or wait"
            raise Overloaded(text, retry_after_seconds=60)
        if shutil.disk_usage(folder).free < length + _SPARE_BYTES:
            raise Overloaded("the server has no room for an upload of this size now", retry_after_seconds=60)
        upload_id = secrets.token_hex(16)
        about = About(length=length, name=plain_name(name), metadata=metadata, created=time.time())
        coming = folder / f"{_COMING}{upload_id}"
        coming.mkdir(mode=0o700)
        (coming / _ABOUT).write_text(about.model_dump_json())
        (coming / _CONTENT).touch(mode=0o600)
        coming.rename(folder / upload_id)
        return StoredUpload(upload_id, about, folder / upload_id)

    def find(self, tenant: str, upload_id: str) -> StoredUpload:
        """One of a tenant.

        Raises:
            UploadNotFound: It is not there, or its time is over.
        """
        if _ID.fullmatch(upload_id):
            folder = self._folder(tenant) / upload_id
            with suppress(OSError, ValidationError):
                upload = StoredUpload(upload_id, About.model_validate_json((folder / _ABOUT).read_bytes()), folder)
                if self.expires(upload) > time.time():
                    return upload
        raise UploadNotFound(f"there is no upload {upload_id[:64]!r}, or its time is over; begin a new one")

    def finished(self, tenant: str, upload_id: str) -> StoredUpload:
        """One that is all there, as the source of a job.

        Raises:
            UploadNotFound: It is not there, or its time is over.
            SourceRefused: It is not all there yet.
        """
        upload = self.find(tenant, upload_id)
        if not upload.is_finished:
            raise SourceRefused(
                f"{SCHEME}{upload_id} has {upload.offset:,} of {upload.about.length:,} bytes; finish the upload first"
            )
        return upload

    def expires(self, upload: StoredUpload) -> float:
        """When an upload is removed, if nothing more comes: seconds since 1970."""
        return upload.content.stat().st_mtime + self._kept_seconds[upload.is_finished]

    def remove(self, upload: StoredUpload) -> None:
        """Remove one."""
        gone = upload.folder.with_name(f"{_COMING}{upload.id}")
        with suppress(OSError):  # somebody else was quicker
            upload.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self) -> None:
        """Remove those whose time is over, and what was left of those that were begun or removed halfway."""
        now = time.time()
        for folder in self._all():
            with suppress(OSError, ValidationError):
                if folder.name.startswith(_COMING):
                    if folder.stat().st_mtime < now - _HOUR:
                        shutil.rmtree(folder, ignore_errors=True)
                    continue
                about = About.model_validate_json((folder / _ABOUT).read_bytes())
                upload = StoredUpload(folder.name, about, folder)
                if self.expires(upload) <= now:
                    self.remove(upload)

    def _all(self) -> Iterator[Path]:
        with suppress(OSError):
            for tenant in list(self._root.iterdir()):
                with suppress(OSError):
                    yield from list(tenant.iterdir())

    def _folder(self, tenant: str) -> Path:
        if tenant and _TENANT.fullmatch(tenant) is None:
            raise UploadNotFound("no tenant has this name")
        return self._root / (tenant or _NOBODY)


def plain_name(text: str) -> str:
    """A file's name without folders and without what no name should have; `video` where nothing is left."""
    last = re.split(r"[/\\]", text)[-1]
    kept = "".join(character for character in last if character.isprintable())[:200].strip(". ")
    while len(os.fsencode(kept)) > 240:
        kept = kept[:-1]
    return kept or "video"
