"""The page: what it shows, that it costs nothing unseen, and who may write."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.generated_traffic import Drawn
from edge.configuration.loading import load
from edge.configuration.words import CameraSettings
from edge.labels import Labels
from edge.page.pictures import SIDES
from edge.page.server import Page
from edge.traffic.tracker import Track, Tracker
from edge.veils import NOTHING, Veils
from reeltag.errors import PortInUse
from tests.edge.browser import CHROMIUM, Browser

TEXT = """\
cameras:
  - name: north side
    source: x
    picture: [320, 180]
    lines:
      - {name: gate, points: [[10, 90], [310, 90]], forward: out}  # kept
page: {fps: 20}
"""
LATENCY = {"p50": 30.0, "p95": 50.0, "p99": 60.0}
COUNTS = {"lines": {"gate": [{"direction": "out", "class": "car", "count": 7}]}, "zones": {}}
DELIVERY = {"receivers": {"mqtt": {"waiting": 12, "refused": 0, "problem": "the broker is away"}}, "in_memory": 0}
FIGURES = {"state": "delivering", "captured": 100, "dropped": 3, "latency_ms": LATENCY, "counts": COUNTS}
PICTURE = np.full((180, 320, 3), (200, 40, 40), np.uint8)
SHAPES = "/shapes/north%20side"


class Watching:
    """A page, and what it told."""

    def __init__(self, folder: Path, text: str = TEXT) -> None:
        self.path = folder / "watch.yaml"
        self.path.write_text(text)
        self.changes: list[CameraSettings] = []
        self.figures: dict[str, Any] = dict(FIGURES)
        self.page = Page(
            0, load(self.path), ["car"], lambda: {"north side": self.figures}, self.changes.append, lambda: DELIVERY
        )
        self.veiled, self.picture = NOTHING, PICTURE
        self.tracker = Tracker()
        for index in range(3):
            self.tracker.update(index / 10, np.array([[50, 60, 120, 120, 0.9, 0]], np.float32))

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.page.port, timeout=10)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        said = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return said

    def put(self, shapes: Any, **headers: str) -> tuple[int, Any]:
        own = {"Origin": f"http://127.0.0.1:{self.page.port}", "X-Reeltag-Token": self.page.token, **headers}
        status, _, body = self.ask("PUT", SHAPES, json.dumps(shapes), **own)
        return status, json.loads(body)

    def shapes(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("GET", SHAPES)[2])
        return found

    def show(self) -> None:
        self.page.show("north side", Drawn(self.picture), self)

    @property
    def tracks(self) -> list[Track]:
        return self.tracker.tracks

    def veils(self) -> Veils:
        return self.veiled


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[Watching]:
    watching = Watching(tmp_path)
    yield watching
    watching.page.close()


def test_nothing_is_copied_while_nobody_looks(watching: Watching) -> None:
    for _ in range(100):
        watching.show()
    assert watching.page.views["north side"]._buffer is None


def test_the_live_picture_is_annotated_and_no_faster_than_asked(watching: Watching) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", watching.page.port, timeout=10)
    connection.request("GET", "/live/north%20side")
    answer = connection.getresponse()
    stopping = threading.Event()

    def feed() -> None:
        while not stopping.wait(0.002):
            watching.show()

    thread = threading.Thread(target=feed)
    thread.start()
    began = time.monotonic()
    pictures: list[bytes] = []
    while len(pictures) < 6:
        line = answer.readline()
        if line.startswith(b"Content-Length"):
            answer.readline()
            pictures.append(answer.read(int(line.split()[1])))
    took = time.monotonic() - began
    stopping.set()
    thread.join()
    connection.close()
    answer.close()
    assert took >= 4.5 / 20
    picture = cv2.imdecode(np.frombuffer(pictures[-1], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert picture.shape == PICTURE.shape
    assert np.abs(picture[150, 200].astype(int) - PICTURE[0, 0]).max() < 12
    assert picture[100, 50, 1] > 120  # the box's left side
    for _ in range(1000):
        if not watching.page.views["north side"].lookers:
            break
        watching.show()
        time.sleep(0.01)
    assert watching.page.views["north side"].lookers == 0


def test_what_is_saved_is_in_the_file_and_watched_at_once(watching: Watching) -> None:
    now = watching.shapes()
    zone = {"name": "a", "points": [[1, 1], [50, 1], [50, 50]]}
    status, said = watching.put({**now, "zones": [zone]})
    assert (status, said["zones"]) == (200, [zone])
    assert load(watching.path).camera("north side").zones[0].name == "a"
    assert "# kept" in watching.path.read_text()
    assert [camera.zones[0].name for camera in watching.changes] == ["a"]
    assert watching.put({**now, "zones": []}) == (
        422,
        {"problems": ["the file has changed meanwhile; right is to load it anew"]},
    )


def test_what_others_have_changed_is_not_overwritten(watching: Watching) -> None:
    by_hand = TEXT.replace("out}", "out of town}")
    watching.path.write_text(by_hand)
    status, said = watching.put({**watching.shapes(), "lines": []})
    assert (status, said["problems"]) == (
        422,
        ["the file was changed by others than this page; right is to start `reeltag watch` anew"],
    )
    assert watching.path.read_text() == by_hand


def test_it_says_who_has_the_events_until_the_watching_ends(watching: Watching) -> None:
    state = watching.page.state()
    assert state["delivery"] == DELIVERY
    assert state["cameras"][0]["captured"] == 100
    watching.page.close()
    # A connection that is still open may ask when the spool is closed already.
    assert watching.page.state() == {"cameras": [{"name": "north side"}], "delivery": {}}


def test_a_browser_that_goes_is_no_error(watching: Watching, capfd: pytest.CaptureFixture[str]) -> None:
    for request in (b"", b"GET /state.json HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % watching.page.port):
        with socket.create_connection(("127.0.0.1", watching.page.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(request)
    while any(thread.name.endswith("(process_request_thread)") for thread in threading.enumerate()):
        time.sleep(0.01)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://elsewhere.example"}, 403),
        ({"X-Reeltag-Token": "guessed"}, 403),
        ({"Host": "elsewhere.example"}, 421),
        ({"Host": "elsewhere.example:80"}, 421),
        ({"Origin": "null"}, 403),
    ],
)
def test_another_site_writes_nothing(watching: Watching, headers: dict[str, str], status: int) -> None:
    assert watching.put({**watching.shapes(), "lines": []}, **headers)[0] == status
    assert watching.path.read_text() == TEXT
    assert not watching.changes


def test_no_other_site_embeds_it_or_reads_it_by_another_name(watching: Watching) -> None:
    status, headers, body = watching.ask("GET", "/")
    assert status == 200
    assert watching.page.token.encode() in body
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert watching.ask("GET", "/", Host=f"rebound.example:{watching.page.port}")[0] == 421


@pytest.mark.parametrize("body", ["[]", "{", '{"lines": 3, "zones": [], "version": "x"}', '{"lines": []}'])
def test_what_is_no_shape_is_told(watching: Watching, body: str) -> None:
    own = {"Origin": f"http://127.0.0.1:{watching.page.port}", "X-Reeltag-Token": watching.page.token}
    status, _, said = watching.ask("PUT", SHAPES, body, **own)
    assert status in {400, 422}
    assert json.loads(said)["problems"]
    assert watching.path.read_text() == TEXT


def test_a_port_that_is_taken_is_named(watching: Watching) -> None:
    with pytest.raises(PortInUse, match="take another port"):
        Page(watching.page.port, watching.page.configuration)


CROWDED = """\
cameras:
  - name: north side
    source: x
    picture: [320, 180]
    lines:
      - {name: gate, points: [[10, 90], [310, 90]], forward: to the town hall}  # kept
      - {name: second, points: [[160, 95], [165, 85]], forward: out}
      - {name: a name that is too long for a phone, points: [[312, 20], [316, 120]]}
    zones:
      - {name: yard, points: [[20, 20], [150, 20], [150, 80]]}
      - {name: the same corner, points: [[22, 21], [150, 30], [100, 170]]}
page: {fps: 20}
"""
HIDDEN = """(() => {
  const labels = [...document.querySelectorAll("#overlay .ground")].map((one) => one.getBoundingClientRect());
  const stage = document.querySelector("#overlay").getBoundingClientRect();
  const inside = (one) => one.left > stage.left - 1 && one.right < stage.right + 1 && one.top > stage.top - 1;
  const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const cut = labels.filter((one) => !inside(one));
  return [labels.length, cut.length, labels.filter((a, at) => labels.slice(0, at).some((b) => overlap(a, b))).length];
})()"""
ROWS = """new Set([...document.querySelectorAll(".buttons button:not([hidden])")].map((one) => one.offsetTop)).size"""


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[tuple[Watching, Browser]]:
    """A browser at a page with many lines and zones, and a camera that delivers."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    watching = Watching(tmp_path, CROWDED)
    browser = Browser(tmp_path / "profile")
    stopping = threading.Event()

    def feed() -> None:
        while not stopping.wait(0.05):
            if watching.figures["state"] == "delivering":
                watching.show()

    thread = threading.Thread(target=feed)
    thread.start()
    yield watching, browser
    stopping.set()
    thread.join()
    browser.close()
    watching.page.close()


def test_a_browser_shows_moves_and_saves(looking: tuple[Watching, Browser]) -> None:
    watching, browser = looking
    for width, height in ((390, 844), (1400, 900)):
        browser.open(f"http://127.0.0.1:{watching.page.port}/", width, height)
        browser.wait("document.querySelector('#shapes li') && document.querySelector('#live').naturalWidth === 320")
        browser.wait("document.querySelector('#counts').textContent.includes('gate: out, car')")
        assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"too wide at {width}"
        assert browser.evaluate(HIDDEN) == [8, 0, 0], width
        assert browser.evaluate(ROWS) == 1, width
        assert "12 wait: the broker is away" in browser.evaluate("document.querySelector('#events').textContent")
        assert browser.evaluate("document.querySelector('#notice').hidden")
        assert len(browser.screenshot()) > 5000
    browser.drag("#overlay circle[data-kind=lines]", 0.5, 0.25)
    browser.click("#save")
    browser.wait("document.querySelector('#hint').textContent === 'Saved.'")
    browser.click("#add-line")
    browser.click("#cancel")
    browser.click("#add-zone")
    for across, down in ((0.25, 0.25), (0.75, 0.35), (0.75, 0.75)):
        browser.click("#overlay", across, down)
    browser.click("#done")
    browser.click("#save")
    browser.wait("document.querySelector('#hint').textContent === 'Saved.'")
    assert browser.errors == []
    north = load(watching.path).camera("north side")
    np.testing.assert_allclose(north.lines[0].points, [[160, 45], [310, 90]], atol=2)
    assert [zone.name for zone in north.zones] == ["yard", "the same corner", "zone 1"]
    np.testing.assert_allclose(north.zones[2].points, [[80, 45], [240, 63], [240, 135]], atol=2)
    assert "# kept" in watching.path.read_text()


def test_a_camera_that_is_lost_is_told_and_so_is_a_process(looking: tuple[Watching, Browser]) -> None:
    watching, browser = looking
    watching.figures = {"state": "lost", "problem": "it was unplugged", "captured": 0, "dropped": 0}
    browser.open(f"http://127.0.0.1:{watching.page.port}/", 390, 844)
    told = "document.querySelector('#notice')?.textContent"
    browser.wait(f"{told} === 'The camera is lost, and tried again: it was unplugged'")
    browser.wait("document.querySelector('#live').clientHeight > 190")  # room as for a picture
    watching.figures = dict(FIGURES)
    browser.wait("document.querySelector('#notice').hidden && document.querySelector('#live').naturalWidth === 320")
    watching.page.close()
    browser.wait(f"{told}?.startsWith('reeltag watch does not answer')")


def test_labels_are_inside_and_beside_each_other() -> None:
    picture = np.zeros((360, 640, 3), np.uint8)
    labels = Labels(picture)
    boxes = [(x, y, x + 20, y + 60) for x in (0, 30, 60, 615) for y in (0, 100, 290)]
    places = [labels.put(f"{number} motorcyclé", box, (60, 220, 120)) for number, box in enumerate(boxes)]
    for at, (x1, y1, x2, y2) in enumerate(places):
        assert x1 >= 0
        assert y1 >= 0
        assert x2 <= 640
        assert y2 <= 360
        others = places[:at]
        assert not any(x1 < ox2 and ox1 < x2 and y1 < oy2 and oy1 < y2 for ox1, oy1, ox2, oy2 in others), at
        ground = picture[int(y1) : int(y2), int(x1) : int(x2)].reshape(-1, 3)
        assert np.mean((ground == (60, 220, 120)).all(1)) > 0.5


def test_a_label_is_as_high_in_what_a_phone_gets(watching: Watching) -> None:
    """The picture is made smaller first: letters of 15 pixels in 1280 would be 5 on a phone."""
    picture = np.zeros((720, 1280, 3), np.uint8)
    view = watching.page.views["north side"]
    view.look(1)
    watching.page.show("north side", Drawn(picture), watching)
    for side in SIDES:
        _, jpeg = view.next(0, 1, side)
        sent = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert sent.shape[1] == side
        rows = np.flatnonzero((sent[..., 1] > 120).mean(1) * side > 25)
        left = round(50 * side / 1280)
        label = [row for row in rows if (sent[row, left + 2 : left + 30, 1] > 120).mean() > 0.4]
        assert 11 <= len(label) <= 22, side
