"""A real MQTT broker on this machine: Debian's mosquitto where it is found, else amqtt from PyPI."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Broker:
    """A broker that can be killed and comes back on the same port; it keeps nothing."""

    def __init__(self, folder: Path, *, password: str | None = None, certificate: Path | None = None) -> None:
        self.port = free_port()
        self._folder = folder
        self._password, self._certificate = password, certificate
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        mosquitto = os.environ.get("MOSQUITTO") or shutil.which("mosquitto")
        command = self._mosquitto(mosquitto) if mosquitto else self._amqtt()
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, "the broker ended"
            time.sleep(0.05)
        raise AssertionError("the broker does not listen")

    def kill(self) -> None:
        """Kill it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _mosquitto(self, command: str) -> list[str]:
        settings = self._folder / "mosquitto.conf"
        anonymous = "false" if self._password else "true"
        text = f"listener {self.port} 127.0.0.1\nallow_anonymous {anonymous}\npersistence false\n"
        if self._certificate is not None:
            text += f"certfile {self._certificate}\nkeyfile {self._certificate}\nuser {getpass.getuser()}\n"
        settings.write_text(text)
        return [command, "-c", str(settings)]

    def _amqtt(self) -> list[str]:
        settings = self._folder / "amqtt.yaml"
        tls = (
            ""
            if self._certificate is None
            else f"    ssl: on\n    certfile: {self._certificate}\n    keyfile: {self._certificate}\n"
        )
        settings.write_text(
            f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{self.port}\n{tls}"
            "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n"
            f"    allow_anonymous: {'false' if self._password else 'true'}\n"
        )
        return [str(Path(sys.executable).with_name("amqtt")), "-c", str(settings)]


class Gate:
    """A way to a port that can be shut: a network that goes away."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self.is_open = False
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._door.getsockname()[1])
        threading.Thread(target=self._let_in, daemon=True).start()

    def open(self) -> None:
        """Let connections through."""
        self.is_open = True

    def shut(self) -> None:
        """Break all connections, and let none through."""
        self.is_open = False
        while self._open:
            with suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """For good."""
        self.shut()
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _let_in(self) -> None:
        while True:
            try:
                guest, _ = self._door.accept()
            except OSError:
                return
            try:
                if not self.is_open:
                    raise ConnectionRefusedError
                host = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                guest.close()
                continue
            host.settimeout(None)
            self._open += [guest, host]
            threading.Thread(target=_carry, args=(guest, host), daemon=True).start()
            if not self.is_open:
                self.shut()


def _carry(guest: socket.socket, host: socket.socket) -> None:
    back = threading.Thread(target=_pass_on, args=(host, guest), daemon=True)
    back.start()
    _pass_on(guest, host)
    back.join()
    guest.close()
    host.close()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    for each in (one, other):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Listener:
    """Gets everything below `traffic/` and connects again after the broker was away."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("traffic/#", 1)
        self._client.on_message = lambda _client, _data, message: self.messages.append(
            (message.topic, bytes(message.payload))
        )
        self._client.on_subscribe = lambda *_: self._subscribed()
        self.subscriptions = 0
        self._client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]  # its documentation says seconds, also in parts
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def _subscribed(self) -> None:
        self.subscriptions += 1

    def close(self) -> None:
        """Go away."""
        self._client.disconnect()
        self._client.loop_stop()


def wait_for(what: str, condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} has not come about"
        time.sleep(0.02)
