"""Pulls the camera, the broker, the network and the power at random, and counts events that are lost or doubled.

`python -m benchmarks.pulled_plugs` starts a process that watches the generated road without end and hands its events to
a file, an MQTT broker (Debian's mosquitto where it is found, else amqtt) and a webhook. 100 times something is pulled:
the camera gives no frames, the broker is killed and comes back empty, the network is cut, or the process is killed with
SIGKILL and started anew. In the end every event that the process was told to be kept must be at all three.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from benchmarks.brokers import Broker, Gate, Listener, wait_for
from benchmarks.generated_traffic import CLASSES, configuration, watch
from edge.configuration.loading import parse
from edge.events.publisher import Publisher
from edge.traffic.scene import Scene
from edge.words import Event
from reeltag.signatures import verify

SECRET: Final = "of the plugs that are pulled"
PLUGS: Final = ("camera", "broker", "network", "power")
_KEPT: Final = "kept.txt"


def settings(mqtt_port: int, webhook_port: int) -> str:
    """The YAML of the watching process."""
    mqtt = f"{{host: 127.0.0.1, port: {mqtt_port}, topic: 'traffic/{{source}}'}}"
    webhook = f"{{url: 'http://127.0.0.1:{webhook_port}/', secret_file: secret}}"
    file = "{path: events.jsonl}"
    return f"{configuration()}events:\n  file: {file}\n  mqtt: {mqtt}\n  webhook: {webhook}\n"


def child(folder: Path) -> None:
    """Watch until SIGTERM; SIGUSR1 pulls the camera for 20 frames."""
    path = folder / "watch.yaml"
    read = parse(path.read_text(), path)
    publisher = Publisher(read, first_wait=0.05)
    scene = Scene(read, CLASSES, "road")
    missing, stopping = [0], threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGUSR1, lambda *_: missing.__setitem__(0, 20))
    with (folder / _KEPT).open("a", buffering=1) as kept:
        print("ready", flush=True)
        for _, events, _ in watch(10_000, int.from_bytes(os.urandom(3), "big"), _WithGaps(scene, missing)):  # type: ignore[arg-type]  # a Scene for this
            if events:
                publisher.publish(events)
                kept.write("".join(f"{event.id}\n" for event in events))
            if stopping.wait(0.002):
                break
        deadline = time.monotonic() + 120
        while any(one["waiting"] for one in publisher.state()["receivers"].values()):  # type: ignore[attr-defined]
            assert time.monotonic() < deadline, publisher.state()
            time.sleep(0.05)
    publisher.close()


class _WithGaps:
    """A scene whose camera gives nothing now and then."""

    def __init__(self, scene: Scene, missing: list[int]) -> None:
        self._scene, self._missing = scene, missing

    def update(self, *frame: Any) -> list[Event]:
        if self._missing[0]:
            self._missing[0] -= 1
            return []
        return self._scene.update(*frame)


class Receiver(BaseHTTPRequestHandler):
    """Takes signed lines."""

    lines: Final[list[str]] = []

    def do_POST(self) -> None:
        """Take them."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        is_ours = verify(SECRET, self.headers["Reeltag-Timestamp"], self.headers["Reeltag-Signature"], body)
        if is_ours:
            Receiver.lines.extend(body.decode().splitlines())
        self.send_response(204 if is_ours else 401)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


class House:
    """All that can be pulled."""

    def __init__(self, folder: Path, seed: int) -> None:
        Receiver.lines.clear()
        self._folder, self._random = folder, random.Random(seed)
        self.pulled: Counter[str] = Counter()
        self._next: list[str] = []
        self._broker = Broker(folder)
        self._broker.start()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._serving.start()
        self._to_broker, self._to_server = Gate(self._broker.port), Gate(self._server.server_port)
        self.listener = Listener(self._broker.port)
        self._await_listener(1)
        (folder / "secret").write_text(SECRET)
        (folder / "watch.yaml").write_text(settings(self._to_broker.port, self._to_server.port))
        self._child = self._power()
        self._let()

    def pull(self) -> None:
        """Pull something, and put it back."""
        before = self._kept()
        wait_for("another event", lambda: self._kept() > before)
        time.sleep(self._random.uniform(0, 0.2))
        if not self._next:
            self._next = self._random.sample(PLUGS, len(PLUGS))
        what = self._next.pop()
        self.pulled[what] += 1
        pause = self._random.uniform(0.05, 0.4)
        if what == "camera":
            self._child.send_signal(signal.SIGUSR1)
        elif what == "network":
            self._cut()
            time.sleep(pause)
            self._let()
        elif what == "broker":
            subscriptions = self.listener.subscriptions
            self._broker.kill()
            self._to_broker.shut()  # a broker keeps nothing for a listener that it has not heard of yet
            time.sleep(pause)
            self._broker.start()
            self._await_listener(subscriptions + 1)
            self._to_broker.open()
        else:
            self._child.kill()
            self._end()
            self._child = self._power()

    def finish(self) -> dict[str, Any]:
        """Let everything be delivered, and count."""
        self._child.send_signal(signal.SIGTERM)
        assert self._end() == 0, "the watching process failed"
        time.sleep(0.5)
        kept = (self._folder / _KEPT).read_text().split()
        in_file = [json.loads(line) for line in (self._folder / "events.jsonl").read_text().splitlines()]
        by_mqtt = [json.loads(body) for _, body in self.listener.messages]
        by_webhook = [json.loads(line) for line in Receiver.lines]
        got = {"file": in_file, "mqtt": by_mqtt, "webhook": by_webhook}
        ids = {name: [event["id"] for event in events] for name, events in got.items()}
        return {
            "pulled": dict(self.pulled),
            "events": len(set(kept)),
            **{f"lost_{name}": len(set(kept) - set(found)) for name, found in ids.items()},
            "twice_in_file": len(ids["file"]) - len(set(ids["file"])),
            "again_with_the_same_id": {name: len(ids[name]) - len(set(ids[name])) for name in ("mqtt", "webhook")},
            "doubled": _doubled(in_file + by_mqtt + by_webhook),
        }

    def close(self) -> None:
        """End all of it."""
        if self._child.poll() is None:
            self._child.kill()
            self._end()
        self.listener.close()
        self._to_broker.close()
        self._to_server.close()
        self._broker.kill()
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()

    def _kept(self) -> int:
        """How much the watching process says is kept."""
        path = self._folder / _KEPT
        return path.stat().st_size if path.exists() else 0

    def _power(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "benchmarks.pulled_plugs", "--child", str(self._folder)]
        begun = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert begun.stdout is not None
        assert begun.stdout.readline() == b"ready\n", "the watching process does not start"
        return begun

    def _end(self) -> int:
        assert self._child.stdout is not None
        self._child.stdout.close()
        return self._child.wait(180)

    def _cut(self) -> None:
        self._to_broker.shut()
        self._to_server.shut()

    def _let(self) -> None:
        self._to_broker.open()
        self._to_server.open()

    def _await_listener(self, subscriptions: int) -> None:
        wait_for("the subscription", lambda: self.listener.subscriptions >= subscriptions)


def _doubled(events: list[dict[str, Any]]) -> int:
    """How many came under more than one id, or came again as something else."""
    ids: dict[tuple[Any, ...], set[str]] = {}
    bodies: dict[str, set[str]] = {}
    for event in events:
        place = event.get("line") or event.get("zone")
        what = (event["run"], event["kind"], place, event.get("track"), event["frame"])
        ids.setdefault(what, set()).add(event["id"])
        bodies.setdefault(event["id"], set()).add(json.dumps(event, sort_keys=True))
    return sum(len(one) > 1 for one in (*ids.values(), *bodies.values()))


def pull(times: int, seed: int, folder: Path) -> dict[str, Any]:
    """Pull plugs, and count.

    Args:
        times: How often.
        seed: Of what is pulled and when.
        folder: Empty.
    """
    house = House(folder, seed)
    try:
        for _ in range(times):
            house.pull()
        return house.finish()
    finally:
        house.close()


def main() -> int:
    """Print what was counted; the exit status is 1 where an event is lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child is not None:
        child(chosen.child)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = pull(chosen.times, chosen.seed, Path(folder))
    print(json.dumps(found, indent=1))
    return int(any(found[name] for name in ("lost_file", "lost_mqtt", "lost_webhook", "twice_in_file", "doubled")))


if __name__ == "__main__":
    sys.exit(main())
