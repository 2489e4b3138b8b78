"""Events: kept over kill -9 and outages, delivered once by their id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import jsonschema
import numpy as np
import pytest
import trustme

from benchmarks.brokers import Broker, Gate, Listener, free_port, wait_for
from benchmarks.pulled_plugs import pull
from edge.configuration.loading import parse
from edge.events.publisher import Publisher
from edge.events.snapshots import Snapshots
from edge.events.spool import Incoming, Spool
from edge.veils import NOTHING, Veils
from edge.words import Event, FrameTime
from reeltag.errors import InvalidOption, StorageFull
from reeltag.signatures import verify

SECRET = "a secret of the receiver"


def event(number: int) -> Event:
    return Event(
        f"{number:032x}", "vehicle", "north", FrameTime(number, number / 10, time.time(), 0.0), {"track": number}
    )


def publisher(folder: Path, events: str) -> Publisher:
    text = f"cameras: [{{name: north, source: x}}]\nevents:\n{events}"
    return Publisher(parse(text, folder / "watch.yaml"), first_wait=0.05)


def delivered(told: Publisher) -> bool:
    return not told.state()["receivers"]["mqtt"]["waiting"]  # type: ignore[index]


def problem_of(told: Publisher) -> str:
    return str(told.state()["receivers"]["mqtt"]["problem"] or "")  # type: ignore[index]


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
def gate(broker: Broker) -> Iterator[Gate]:
    gate = Gate(broker.port)
    yield gate
    gate.close()


def test_a_broker_that_is_killed_gets_every_event_by_its_id(tmp_path: Path, broker: Broker, gate: Gate) -> None:
    told = publisher(
        tmp_path, f"  mqtt: {{host: 127.0.0.1, port: {gate.port}, topic: 'traffic/{{source}}/{{kind}}'}}\n"
    )
    listener = Listener(broker.port)
    published: list[str] = []

    def subscribed(least: int) -> bool:
        return listener.subscriptions >= least

    def received() -> dict[str, None]:
        return dict.fromkeys(json.loads(body)["id"] for _, body in listener.messages)

    def publish(first: int, count: int) -> None:
        told.publish([event(first + number) for number in range(count)])
        published.extend(event(first + number).id for number in range(count))

    try:
        publish(0, 200)  # an outage from the start on
        for turn in range(1, 3):
            broker.start()
            wait_for("the subscription", partial(subscribed, turn))
            gate.open()
            publish(1000 * turn, 50)
            wait_for("the messages", lambda: len(received()) >= len(published))
            gate.shut()
            broker.kill()
            publish(1000 * turn + 500, 50)
        wait_for("the problem", lambda: told.state()["receivers"]["mqtt"]["problem"])  # type: ignore[index]
    finally:
        told.close(0.1)
        listener.close()
    assert listener.messages[0][0] == "traffic/north/vehicle"
    assert list(received()) == published[:-50]  # some come twice, with the same id


def test_a_broker_that_refuses_is_named_and_the_event_is_kept(tmp_path: Path) -> None:
    broker = Broker(tmp_path, password="x")
    broker.start()
    told = publisher(tmp_path, f"  mqtt: {{host: 127.0.0.1, port: {broker.port}, topic: t}}\n")
    try:
        told.publish([event(1)])
        wait_for("the refusal", lambda: told.state()["receivers"]["mqtt"]["problem"])  # type: ignore[index]
        state = told.state()["receivers"]["mqtt"]  # type: ignore[index]
        assert "refuses" in state["problem"]
        assert state["waiting"] == 1
    finally:
        told.close(0.1)
        broker.kill()


def test_a_broker_with_tls_is_checked(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    pem = tmp_path / "broker.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    broker = Broker(tmp_path, certificate=pem)
    broker.start()
    try:
        for ca, problem in (("other.pem", "certificate verify failed"), ("ca.pem", None)):
            mqtt = f"{{host: localhost, port: {broker.port}, topic: t, ca_file: {ca}}}"
            told = publisher(tmp_path, f"  mqtt: {mqtt}\n")
            told.publish([event(1)])
            if problem is None:
                wait_for("the delivery", partial(delivered, told))
            else:
                wait_for("the problem", partial(problem_of, told))
                assert problem in problem_of(told)
                assert told.state()["receivers"]["mqtt"]["waiting"] == 1  # type: ignore[index]
            told.close(0.5)
    finally:
        broker.kill()


class Receiver(BaseHTTPRequestHandler):
    refuses = True
    lines: list[str] = []  # noqa: RUF012 - of the one test

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        right = verify(SECRET, self.headers["Reeltag-Timestamp"], self.headers["Reeltag-Signature"], body)
        if right and not Receiver.refuses:
            Receiver.lines.extend(body.decode().splitlines())
        self.send_response(503 if Receiver.refuses else 204 if right else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_webhook_is_signed_and_tried_again(tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", free_port()), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    (tmp_path / "secret").write_text(SECRET)
    told = publisher(tmp_path, f"  webhook: {{url: 'http://127.0.0.1:{server.server_port}/x', secret_file: secret}}\n")
    try:
        told.publish([event(number) for number in range(120)])
        wait_for("the refusal", lambda: "503" in str(told.state()["receivers"]))
        Receiver.refuses = False
        wait_for("the delivery", lambda: len(Receiver.lines) >= 120)
    finally:
        told.close()
        server.shutdown()
        thread.join()
        server.server_close()
    assert [json.loads(line)["id"] for line in Receiver.lines] == [event(number).id for number in range(120)]


def test_a_short_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("short")
    with pytest.raises(InvalidOption, match="fewer than 16"):
        publisher(tmp_path, "  webhook: {url: 'http://127.0.0.1:1/x', secret_file: secret}\n")


def test_the_file_has_each_event_once_after_power_cuts(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for until in (5, 9):
        told = publisher(tmp_path, "  file: {path: events.jsonl}\n")
        told.publish([event(number) for number in range(until)])  # a recording that is watched again: the same ids
        told.close()
        with path.open("ab") as file:
            file.write(b'{"id": "half a li')
    told = publisher(tmp_path, "  file: {path: events.jsonl}\n")
    told.publish([event(9)])
    told.close()
    assert ids(path) == [event(number).id for number in range(10)]


def test_the_file_goes_on_behind_its_last_line_where_the_spool_does_not_know_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", ["file"], max_bytes=10**7, keep_seconds=1e9)
    spool.add([Incoming(event(n).id, time.time(), "north/vehicle", event(n).to_json()) for n in range(6)])
    spool.close()
    (tmp_path / "events.jsonl").write_text("".join(event(n).to_json() + "\n" for n in range(4)))
    told = publisher(tmp_path, "  file: {path: events.jsonl}\n")
    told.close()
    assert ids(tmp_path / "events.jsonl") == [event(n).id for n in range(6)]


def test_a_full_spool_drops_what_everybody_has_first_and_counts_what_is_lost(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ["mqtt"], max_bytes=20_000, keep_seconds=1e9)
    rows = [Incoming(f"{n}", time.time(), "north/vehicle", "x" * 136) for n in range(300)]
    spool.add(rows[:60])
    spool.delivered("mqtt", 60)
    spool.add(rows[60:140])
    assert spool.lost() == {}
    assert len(spool.after("mqtt", 1000)) == 80
    spool.add(rows[140:])
    kept = spool.after("mqtt", 1000)
    assert kept[-1].id == "299"
    assert 80 <= len(kept) <= 100
    assert spool.lost() == {"full": 240 - len(kept)}
    spool.close()


def test_what_is_too_old_goes_but_not_what_a_clock_in_1970_stamped(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ["mqtt"], max_bytes=10**6, keep_seconds=86400)
    spool.add([Incoming("old", time.time() - 90000, "t", "{}"), Incoming("1970", 100.0, "t", "{}")])
    assert [row.id for row in spool.after("mqtt", 10)] == ["1970"]
    assert spool.lost() == {"old": 1}
    spool.close()


def test_a_damaged_spool_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "events.sqlite").write_bytes(b"no database at all" * 500)
    spool = Spool(tmp_path, ["mqtt"], max_bytes=10**6, keep_seconds=1e9)
    assert spool.add([Incoming("1", 1.0, "t", "{}")]) == 1
    spool.close()
    assert list(tmp_path.glob("events.broken-*"))


def test_a_full_disk_keeps_events_in_memory_until_it_takes_them(tmp_path: Path) -> None:
    told = publisher(tmp_path, "  file: {path: events.jsonl}\n")
    told._spool._database.execute("PRAGMA max_page_count = 16")  # what SQLite answers is that of a full disk
    big = [Event(f"{n}", "vehicle", "north", FrameTime(n, 0.0, time.time(), 0.0), {"x": "y" * 9000}) for n in range(8)]
    told.publish(big)
    assert told.state()["in_memory"] == 8
    told._spool._database.execute("PRAGMA max_page_count = 100000")
    told.publish([event(1)])
    assert told.state()["in_memory"] == 0
    told.close()
    assert ids(tmp_path / "events.jsonl") == [*map(str, range(8)), event(1).id]


def test_a_spool_that_cannot_be_made_says_what_is_right(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(StorageFull, match="right is a folder with free space"):
        Spool(tmp_path / "spool", [], max_bytes=1, keep_seconds=1)


WRITER = """
import sys, time
from pathlib import Path
from edge.events.spool import Incoming, Spool
spool = Spool(Path(sys.argv[1]), ["mqtt"], max_bytes=10**8, keep_seconds=1e9)
for number in range(10**6):
    spool.add([Incoming(f"{number}-{part}", time.time(), "t", "{}") for part in range(3)])
    sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
"""


def test_what_was_said_to_be_kept_is_there_after_kill_9_and_nothing_in_half(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    said = [int(writer.stdout.readline()) for _ in range(40)]
    os.kill(writer.pid, signal.SIGKILL)
    said += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    writer.stdout.close()
    spool = Spool(tmp_path, ["mqtt"], max_bytes=10**8, keep_seconds=1e9)
    kept = [row.id for row in spool.after("mqtt", 10**6)]
    spool.close()
    assert len(kept) % 3 == 0
    assert kept[: 3 * len(said)] == [f"{number}-{part}" for number in said for part in range(3)]


def test_events_follow_their_published_schema() -> None:
    schema = json.loads((Path(__file__).parents[2] / "edge/events/schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    wrong = {**json.loads(event(1).to_json()), "kind": "line_crossed"}
    jsonschema.validate(
        {
            **wrong,
            "line": "a",
            "direction": "b",
            "run": "r",
            "track": 1,
            "class": "car",
            "class_share": 1,
            "score": 1,
            "box": [0, 0, 1, 1],
        },
        schema,
    )
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_pulled_plugs_lose_and_double_nothing(tmp_path: Path) -> None:
    found = pull(4, 5, tmp_path)
    assert set(found["pulled"]) == {"camera", "broker", "network", "power"}
    assert found["events"] >= 4
    wrong = {name: found[name] for name in ("lost_file", "lost_mqtt", "lost_webhook", "twice_in_file", "doubled")}
    assert not any(wrong.values()), found


def test_an_hour_without_a_receiver_at_two_events_a_second(tmp_path: Path) -> None:
    Receiver.refuses, Receiver.lines = True, []
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    (tmp_path / "secret").write_text(SECRET)
    url = f"http://127.0.0.1:{server.server_port}/"
    told = publisher(tmp_path, f"  sync: false\n  webhook: {{url: '{url}', secret_file: secret}}\n")
    try:
        for second in range(3600):
            told.publish([event(2 * second), event(2 * second + 1)])
        assert told.state()["receivers"]["webhook"]["waiting"] == 7200  # type: ignore[index]
        Receiver.refuses = False
        wait_for("the delivery", lambda: len(Receiver.lines) >= 7200)
    finally:
        told.close()
        server.shutdown()
        thread.join()
        server.server_close()
    assert [json.loads(line)["id"] for line in Receiver.lines] == [event(number).id for number in range(7200)]


def test_snapshots_hide_people_and_plates(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    picture = np.asarray(255 * random.integers(0, 2, (400, 640, 1)).repeat(3, axis=2), np.uint8)
    car, person = np.array([100.0, 100, 500, 300]), np.array([[200.0, 120, 260, 280]])
    crossed = Event("abc", "line_crossed", "north side", FrameTime(0, 0.0, 0.0, 0.0), {})
    for shows_plates, width in ((False, 192), (True, 600)):
        folder = tmp_path / str(shows_plates)
        snapshots = Snapshots({"folder": str(folder)}, tmp_path, 30, shows_plates=shows_plates)
        snapshots.take(crossed, picture, car, Veils(car[None], person))
        assert crossed["snapshot"] == "north_side-abc.jpg"
        kept = cv2.imread(str(folder / "north_side-abc.jpg"))
        assert kept.shape[1] in {width, width + 1}
    inside, above, below = kept[130:270, 210:250], kept[110:190, 300:480], kept[210:290, 300:480]
    assert inside.std() < 40  # the cut begins at 0, 0
    assert above.std() < 40
    assert below.std() > 80
    assert (picture[130:270, 210:250] == 255).any()


def test_snapshots_are_bounded_and_leave_out_what_is_not_asked_for(tmp_path: Path) -> None:
    settings = {"folder": "s", "kinds": ["wrong_way"], "max_megabytes": 1}
    snapshots = Snapshots(settings, tmp_path, 30, shows_plates=True)
    picture = np.random.default_rng(1).integers(0, 256, (400, 640, 3)).astype(np.uint8)
    whole = np.array([0.0, 0, 640, 400])
    other = Event("x", "line_crossed", "n", FrameTime(0, 0.0, 0.0, 0.0), {})
    snapshots.take(other, picture, whole, NOTHING)
    assert "snapshot" not in other
    for number in range(102):
        told = Event(str(number), "wrong_way", "n", FrameTime(0, 0.0, 0.0, 0.0), {})
        snapshots.take(told, picture, whole, NOTHING)
    files = list((tmp_path / "s").iterdir())
    size = max(file.stat().st_size for file in files)
    assert sum(file.stat().st_size for file in files) <= 1e6 + 51 * size
    assert len(files) < 80


def test_a_folder_that_takes_no_snapshots_costs_the_picture_only(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("a file")
    snapshots = Snapshots({"folder": "s"}, tmp_path, 30, shows_plates=True)
    told = Event("1", "line_crossed", "n", FrameTime(0, 0.0, 0.0, 0.0), {})
    snapshots.take(told, np.zeros((40, 60, 3), np.uint8), np.array([0.0, 0, 10, 10]), NOTHING)
    assert "snapshot" not in told
    assert snapshots.failed == 1
