"""API keys as a file holds them: who may ask, and how much. The keys themselves are not in it.

A key is `rt_ID_SECRET`; the file has its id and the SHA-256 of its secret. The secret is 32 random bytes, so that no
slow hash is needed against guessing (NIST SP 800-63B, 5.1.1.2, asks for one for what people choose).
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from reeltag.errors import InvalidOption, OutputError, SetupError
from reeltag.priority import Priority

_KEY: Final = re.compile(r"rt_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_TENANT: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class ApiKey(BaseModel):
    """One key, without its secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """First part of the key; may be shown."""
    tenant: str = Field(pattern=_TENANT)
    """Whose key it is."""
    secret_sha256: str
    created: int
    """Seconds since 1970."""
    revoked: int | None = None
    """Likewise; None while it is good."""
    images_per_second: float | None = Field(None, gt=0)
    """Most images that it may send, on average; any number without it."""
    concurrent_requests: int | None = Field(None, gt=0)
    """Most requests that may be in work at one time; any number without it."""
    priority: Priority = Priority.INTERACTIVE
    """Of its requests that say none."""

    def fits(self, secret: str) -> bool:
        """Whether this is the key's secret; takes as long where it is not."""
        return hmac.compare_digest(self.secret_sha256, _hash(secret))


_FILE: Final = TypeAdapter(tuple[ApiKey, ...])


class KeyFile:
    """The keys of a file, read again whenever it has changed.

    Args:
        path: Of the file; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, ApiKey] = {}
        self._seen: tuple[int, int, int] | None = None

    def all(self) -> tuple[ApiKey, ...]:
        """Every key, revoked ones too.

        Raises:
            SetupError: The file cannot be read.
        """
        self._refresh()
        return tuple(self._keys.values())

    def find(self, presented: str) -> ApiKey | None:
        """The good key that was presented, or None.

        Raises:
            SetupError: The file cannot be read.
        """
        self._refresh()
        match = _KEY.fullmatch(presented)
        key = self._keys.get(match[1]) if match else None
        if match is None or key is None or not key.fits(match[2]) or key.revoked is not None:
            return None
        return key

    def is_good(self, key_id: str) -> bool:
        """Whether a key that was found before has not been revoked since; raises as `find`."""
        self._refresh()
        key = self._keys.get(key_id)
        return key is not None and key.revoked is None

    def create(
        self,
        tenant: str,
        *,
        images_per_second: float | None = None,
        concurrent_requests: int | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> tuple[ApiKey, str]:
        """Add a key; gives it with what must be handed to its tenant, which is nowhere else.

        Raises:
            InvalidOption: The tenant's name or a quota is none.
            OutputError: The file cannot be written.
        """
        secret = secrets.token_urlsafe(32)
        try:
            key = ApiKey(
                id=secrets.token_hex(6),
                tenant=tenant,
                secret_sha256=_hash(secret),
                created=int(time.time()),
                images_per_second=images_per_second,
                concurrent_requests=concurrent_requests,
                priority=priority,
            )
        except ValidationError as error:
            detail = error.errors()[0]
            raise InvalidOption(f"{detail['loc'][0]}={detail['input']}: {detail['msg'].lower()}") from error
        with self._changing() as write:
            write((*self.all(), key))
        return key, f"rt_{key.id}_{secret}"

    def revoke(self, key_id: str) -> ApiKey:
        """Make a key worthless, at once for every gateway that reads the file.

        Raises:
            InvalidOption: There is no such key, or it was revoked already.
            OutputError: The file cannot be written.
        """
        with self._changing() as write:
            keys = {key.id: key for key in self.all()}
            if key_id not in keys:
                raise InvalidOption(f"there is no key {key_id!r} in {self._path}; `reeltag keys list` shows them")
            if keys[key_id].revoked is not None:
                raise InvalidOption(f"the key {key_id!r} was revoked already")
            keys[key_id] = keys[key_id].model_copy(update={"revoked": int(time.time())})
            write(tuple(keys.values()))
        return keys[key_id]

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen != self._seen:
                self._keys = {key.id: key for key in _FILE.validate_json(self._path.read_bytes())}
                self._seen = seen
        except FileNotFoundError:
            self._keys, self._seen = {}, None
        except (OSError, ValidationError) as error:
            raise SetupError(f"the keys in {self._path} cannot be read ({type(error).__name__}); mend it") from error

    @contextmanager
    def _changing(self) -> Iterator[Callable[[tuple[ApiKey, ...]], None]]:
        """Alone among those who change the file; what is written takes its place as a whole."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(f"{self._path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written ({error.strerror}); name another file") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._write
        finally:
            os.close(lock)

    def _write(self, keys: tuple[ApiKey, ...]) -> None:
        try:
            with tempfile.NamedTemporaryFile(dir=self._path.parent, delete=False) as file:  # its mode is 0600
                file.write(json.dumps([key.model_dump(exclude_none=True) for key in keys], indent=1).encode() + b"\n")
            Path(file.name).replace(self._path)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written ({error.strerror}); name another file") from error


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
