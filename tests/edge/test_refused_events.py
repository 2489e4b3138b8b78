"""Events that a receiver does not take, and those that a broker confirmed and lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from benchmarks.brokers import Broker, Listener, wait_for
from edge.events import spool as spools
from edge.events.publisher import Publisher
from edge.events.spool import Incoming, Row, Spool
from tests.edge.test_events import SECRET, delivered, event, ids, publisher


class Picky(BaseHTTPRequestHandler):
    """Takes no body with one of these tracks in it."""

    status = 422
    poison: frozenset[int] = frozenset()
    tracks: list[int] = []  # noqa: RUF012 - of the one test

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        tracks = [json.loads(line)["track"] for line in body.splitlines()]
        refuses = not Picky.poison.isdisjoint(tracks)
        if not refuses:
            Picky.tracks.extend(tracks)
        self.send_response(Picky.status if refuses else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Publisher]:
    Picky.tracks, Picky.poison, Picky.status = [], frozenset(), 422
    server = HTTPServer(("127.0.0.1", 0), Picky)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    (tmp_path / "secret").write_text(SECRET)
    url = f"http://127.0.0.1:{server.server_port}/"
    made = publisher(tmp_path, f"  sync: false\n  webhook: {{url: '{url}', secret_file: secret}}\n")
    yield made
    made.close()
    server.shutdown()
    thread.join()
    server.server_close()


def webhook(told: Publisher) -> dict[str, object]:
    receivers = told.state()["receivers"]
    assert isinstance(receivers, dict)
    state = receivers["webhook"]
    assert isinstance(state, dict)
    return state


def test_an_event_that_is_refused_is_set_aside_by_its_id_and_those_behind_it_go_on(told: Publisher) -> None:
    Picky.poison = frozenset({3, 4, 9})
    told.publish([event(number) for number in range(10)])
    wait_for("those between", lambda: 8 in Picky.tracks)
    wait_for("the last one", lambda: webhook(told)["waiting"] == 1)  # nothing behind it was taken yet
    told.publish([event(10)])
    wait_for("the one behind it", lambda: webhook(told)["waiting"] == 0)
    assert list(dict.fromkeys(Picky.tracks)) == [0, 1, 2, 5, 6, 7, 8, 10]
    assert webhook(told) == {"waiting": 0, "refused": 3, "problem": None}
    aside = told._spool.refused()
    assert [json.loads(body)["id"] for _, _, body in aside] == [event(number).id for number in (3, 4, 9)]
    assert {(sink, "422" in reason) for sink, reason, _ in aside} == {("webhook", True)}


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
def test_a_receiver_that_takes_nothing_loses_nothing(told: Publisher, status: int) -> None:
    """An address or a release that is wrong says 4xx to all; that is no property of an event."""
    Picky.poison, Picky.status = frozenset(range(10)), status
    told.publish([event(number) for number in range(10)])
    wait_for("the problem", lambda: webhook(told)["problem"])
    assert str(status) in str(webhook(told)["problem"])
    assert webhook(told)["waiting"] == 10
    Picky.poison = frozenset()
    wait_for("the delivery", lambda: webhook(told)["waiting"] == 0)
    assert Picky.tracks == list(range(10))
    assert told._spool.refused() == []


def test_what_is_about_the_receiver_keeps_the_order(told: Publisher) -> None:
    Picky.poison, Picky.status = frozenset({3}), 503
    told.publish([event(number) for number in range(6)])
    wait_for("the problem", lambda: webhook(told)["problem"])
    assert (Picky.tracks, webhook(told)["waiting"]) == ([], 6)


def test_what_is_set_aside_is_bounded_and_goes_when_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "MOST_REFUSED", 3)
    spool = Spool(tmp_path, ["webhook"], max_bytes=10**6, keep_seconds=86400)
    now = time.time()
    spool.add([Incoming(f"{n}", now - 86390 + 10000 * n, "t", f"{n}") for n in range(5)])
    refused: list[tuple[Row, str]] = [(row, "422") for row in spool.after("webhook", 10)]
    spool.set_aside("webhook", refused)
    spool.set_aside("webhook", refused[4:])  # after a crash in between
    assert [body for _, _, body in spool.refused()] == ["2", "3", "4"]
    assert spool.lost() == {"refused": 2}
    spool.close()
    spool = Spool(tmp_path, ["webhook"], max_bytes=10**6, keep_seconds=60_000)
    spool.add([Incoming("new", now, "t", "{}")])
    assert [body for _, _, body in spool.refused()] == ["3", "4"]
    spool.close()


def test_what_a_broker_confirmed_and_died_with_comes_again(tmp_path: Path) -> None:
    """Quality of service 1 ends at the broker, which has confirmed events that nobody has got from it."""
    broker = Broker(tmp_path)
    broker.start()
    told = publisher(tmp_path, f"  mqtt: {{host: 127.0.0.1, port: {broker.port}, topic: 'traffic/{{source}}'}}\n")
    listener = None
    try:
        told.publish([event(number) for number in range(20)])
        wait_for("the confirmation", lambda: delivered(told))
        broker.kill()
        broker.start()
        listener = Listener(broker.port)
        wait_for("the subscription", lambda: listener is not None and listener.subscriptions)
        told.publish([event(20)])
        wait_for("the messages", lambda: listener is not None and len(listener.messages) >= 21)
        assert [json.loads(body)["id"] for _, body in listener.messages] == [event(number).id for number in range(21)]
        told.publish([event(21)])
        wait_for("the next one", lambda: listener is not None and len(listener.messages) >= 22)
        assert len(listener.messages) == 22  # once is enough where the connection stays
    finally:
        told.close(0.1)
        if listener is not None:
            listener.close()
        broker.kill()


def test_a_message_that_mqtt_cannot_carry_is_set_aside(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.start()
    mqtt = f"{{host: 127.0.0.1, port: {broker.port}, topic: '{{kind}}'}}"
    told = publisher(tmp_path, f"  file: {{path: events.jsonl}}\n  mqtt: {mqtt}\n")
    try:
        nameless = event(1)
        nameless.kind = ""
        told.publish([event(0), nameless, event(2)])
        wait_for("the delivery", lambda: delivered(told))
        (aside,) = told._spool.refused()
        assert (aside[0], json.loads(aside[2])["id"]) == ("mqtt", nameless.id)
        wait_for("the file", lambda: len(ids(tmp_path / "events.jsonl")) == 3)
    finally:
        told.close(1)
        broker.kill()
