"""Salts of plates' hashes: random, one at a time, forgotten after their time."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path

HOURS = 24.0
_HOUR = 3600.0
_AHEAD_SECONDS = 24 * _HOUR
"""A recording that is watched faster than it was recorded makes salts ahead of their time."""
_APART_SECONDS = 60.0
"""Frames of several cameras are not looked at in their order; who is older than that has a clock that was put back."""


class Salts:
    """Random salts, each forgotten after its time: from then on nobody can say whose plate a hash is.

    All cameras of a process share one, so that a plate has the same hash before each of them.

    Args:
        path: Keeps the salt over restarts; readable to its owner only.
        hours: How long hashes of the same plate are equal.
    """

    def __init__(self, path: Path, hours: float = HOURS) -> None:
        self.seconds = hours * _HOUR
        """How long a salt lives."""
        self._path, self._lock = path, threading.Lock()
        self._made, self._name, self._salt = 0.0, "", b""
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._made, self._name, self._salt = float(kept["made"]), str(kept["name"]), bytes.fromhex(kept["salt"])
        except (OSError, ValueError, KeyError, TypeError):  # the first start, or a file that a power cut left
            self._salt = b""

    def hashed(self, plate: str, wall: float) -> tuple[str, str]:
        """The salt's name and the plate's HMAC-SHA256, 32 hexadecimal digits.

        Args:
            plate: As it was agreed on.
            wall: Seconds since the epoch.
        """
        with self._lock:
            if not self._salt or not -_APART_SECONDS < wall - self._made < self.seconds:
                self._renew(wall)
            return self._name, hmac.new(self._salt, plate.encode(), hashlib.sha256).hexdigest()[:32]

    def forget(self) -> None:
        """Overwrite and delete a salt whose time is over, although no plate asks for another."""
        with self._lock:
            age = time.time() - self._made
            if self._path.exists() and not (self._salt and -_AHEAD_SECONDS < age < self.seconds):
                self._salt = b""
                self._wipe()

    def _renew(self, wall: float) -> None:
        self._wipe()
        self._made, self._name, self._salt = wall, secrets.token_hex(4), secrets.token_bytes(32)
        kept = json.dumps({"made": wall, "name": self._name, "salt": self._salt.hex()})
        part = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(str(part), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(kept)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError:  # a full disk: the salt lives until the process ends
            return

    def _wipe(self) -> None:
        with suppress(OSError):
            with self._path.open("r+b") as file:
                file.write(bytes(self._path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            self._path.unlink()
