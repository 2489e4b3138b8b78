"""Events to an MQTT broker: quality of service 1, so that the broker says that it has each."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Mapping, Sequence

from reeltag.errors import InvalidOption, SetupError

from edge.events.delivery import Refused, Undelivered
from edge.events.spool import Row, Spool

_ANSWER_SECONDS = 20.0
_LOOK_SECONDS = 0.25
_KEEP_ALIVE_SECONDS = 10
"""One that does not answer for half as long again is gone."""
AGAIN_SECONDS = 20.0
"""A broker confirms what it has in memory: what it had confirmed so shortly before it went away is sent again."""
_MOST_AGAIN = 1000


class _Context(ssl.SSLContext):
    """Remembers its newest connection: paho leaves one open whose certificate is refused."""

    newest: ssl.SSLSocket | None = None

    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        self.newest = super().wrap_socket(*arguments, **named)
        return self.newest


class MqttSink:
    """A broker.

    A connection that fails is thrown away with what waits in it. What was confirmed in the `AGAIN_SECONDS` before that
    comes again first, with the same ids, together with the next event: the broker may have died before anybody had it.

    Args:
        settings: `events.mqtt` of the configuration.
        folder: Where relative names of files begin.
    """

    name = "mqtt"
    batch = 64

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        try:
            from paho.mqtt import client  # noqa: PLC0415 - only who sends to a broker needs it
        except ImportError as error:
            raise SetupError("events.mqtt needs paho-mqtt; run: pip install 'paho-mqtt>=2.1'") from error
        self._paho: Any = client
        self._settings, self._folder = settings, folder
        self._client: Any = None
        self._broke: float | None = None
        """When the connection broke, seconds of the monotonic clock; none once everything is confirmed by the next."""
        self._confirmed: deque[tuple[float, Row]] = deque(maxlen=_MOST_AGAIN)
        self._tls = self._context() if settings.get("tls") or "ca_file" in settings else None
        self._password = self._read("password_file")

    def start(self, spool: Spool) -> None:
        """Nothing is to be done: a connection is made by the first events."""

    def send(self, rows: Sequence[Row]) -> None:
        """As `Sink.send`."""
        client = self._client or self._connect()
        deadline = time.monotonic() + _ANSWER_SECONDS
        all_rows = [*self._unsure(), *rows]
        try:
            sent = [client.publish(self._topic(row), row.body, qos=1) for row in all_rows]
            for message in sent:
                while not message.is_published():
                    if not client.is_connected():
                        raise Undelivered(f"{self._address()} closed the connection")
                    if time.monotonic() > deadline:
                        raise Undelivered(f"{self._address()} has not confirmed events for {_ANSWER_SECONDS:.0f} s")
                    message.wait_for_publish(_LOOK_SECONDS)
            self._broke = None
            self._confirmed.extend((time.monotonic(), row) for row in all_rows)
        except (Undelivered, RuntimeError, ValueError) as error:
            self._has_broken()
            self.close()
            # paho itself does not send what is too long for MQTT, or has no topic.
            raise (Refused if isinstance(error, ValueError) else Undelivered)(str(error)) from error

    def close(self) -> None:
        """As `Sink.close`."""
        if self._client is not None:
            self._client.on_disconnect = None
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None

    def _unsure(self) -> list[Row]:
        """What a broker had confirmed that may have died since, oldest first."""
        if self._broke is None:
            return []
        since = self._broke - AGAIN_SECONDS
        return list({row.seq: row for when, row in self._confirmed if when >= since}.values())

    def _has_broken(self, *_: Any) -> None:
        if self._broke is None:
            self._broke = time.monotonic()

    def _connect(self) -> Any:
        paho = self._paho
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if "user" in self._settings:
            client.username_pw_set(self._settings["user"], self._password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        answered, said = threading.Event(), [""]

        def connected(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            said[0] = str(reason) if reason.is_failure else ""
            answered.set()

        def disconnected(*_: Any) -> None:
            answered.set()

        client.on_connect, client.on_disconnect = connected, disconnected
        client.max_inflight_messages_set(self.batch)
        try:
            client.connect(
                self._settings["host"],
                self._settings.get("port", 1883 if self._tls is None else 8883),
                _KEEP_ALIVE_SECONDS,
            )
        except (OSError, ValueError) as error:
            if self._tls is not None and self._tls.newest is not None:
                self._tls.newest.close()
            raise Undelivered(f"{self._address()} cannot be reached: {error}") from error
        client.loop_start()
        self._client = client
        if not answered.wait(_ANSWER_SECONDS) or said[0] or not client.is_connected():
            self.close()
            raise Undelivered(f"{self._address()} refuses: {said[0] or 'no answer to the greeting'}")
        client.on_disconnect = self._has_broken
        return client

    def _topic(self, row: Row) -> str:
        source, _, kind = row.topic.rpartition("/")
        topic: str = self._settings["topic"]
        return topic.replace("{source}", re.sub(r"[/#+\0]", "_", source)).replace("{kind}", kind)

    def _address(self) -> str:
        return f"the broker {self._settings['host']}"

    def _context(self) -> _Context:
        given = {name: str(self._folder / self._settings[name]) for name in _TLS_FILES if name in self._settings}
        try:
            context = _Context(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if "ca_file" in given:
                context.load_verify_locations(given["ca_file"])
            else:
                context.load_default_certs()
            if "cert_file" in given:
                context.load_cert_chain(given["cert_file"], given.get("key_file"))
        except (OSError, ssl.SSLError) as error:
            raise InvalidOption(f"events.mqtt: {', '.join(given.values())} cannot be used: {error}") from error
        return context

    def _read(self, name: str) -> str | None:
        if name not in self._settings:
            return None
        path = self._folder / self._settings[name]
        try:
            return str(path.read_text(encoding="utf-8")).strip()
        except OSError as error:
            raise InvalidOption(f"events.mqtt.{name}: {path} cannot be read: {error.strerror}") from error


_TLS_FILES = ("ca_file", "cert_file", "key_file")
