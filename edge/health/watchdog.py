"""Tells systemd that all is well, so that it restarts what hangs (`sd_notify`, systemd's documentation)."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Callable

_SHARE = 4
"""Beats in the time after which systemd gives up."""


class Watchdog:
    """Speaks to systemd where it started us with `Type=notify`; nothing happens elsewhere.

    Args:
        now: Seconds of a monotonic clock.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        usec = os.environ.get("WATCHDOG_USEC", "")
        self._now = now
        self._every = int(usec) / 1e6 / _SHARE if usec.isdigit() else float("inf")
        self._last = float("-inf")
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            # A name that begins with @ is in the abstract namespace, which a zero byte says.
            self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self) -> None:
        """The first frame can be looked at."""
        self._tell("READY=1")

    def beat(self, status: str) -> None:
        """All is well; told at most four times in the time that systemd waits.

        Args:
            status: What `systemctl status` shows.
        """
        if self._now() - self._last >= self._every:
            self._last = self._now()
            self._tell(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self) -> None:
        """It ends on purpose."""
        self._tell("STOPPING=1")
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _tell(self, message: str) -> None:
        if self._socket is None:
            return
        with contextlib.suppress(OSError):  # systemd is away or busy: the next beat comes soon
            self._socket.sendto(message.encode(), self._address)
