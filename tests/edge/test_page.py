"""The page: what it shows, that it costs nothing unseen, and who may write."""

from __future__ import annotations

import http.client
import json
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
from edge.page.server import Page
from edge.traffic.tracker import Track, Tracker
from edge.veils import NOTHING, Veils
from reeltag.errors import InvalidOption
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
FIGURES = {"state": "delivering", "captured": 100, "dropped": 3, "latency_ms": LATENCY, "counts": COUNTS}
PICTURE = np.full((180, 320, 3), (200, 40, 40), np.uint8)
SHAPES = "/shapes/north%20side"


class Watching:
    """A page, and what it told."""

    def __init__(self, folder: Path, plates: str = "") -> None:
        self.path = folder / "watch.yaml"
        self.path.write_text(TEXT + plates)
        self.changes: list[CameraSettings] = []
        self.page = Page(0, load(self.path), ["car"], lambda: {"north side": FIGURES}, self.changes.append)
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
    with pytest.raises(InvalidOption, match="take another port"):
        Page(watching.page.port, watching.page.configuration)


def test_a_browser_draws_a_zone_and_saves_it(watching: Watching, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    browser = Browser(tmp_path / "profile")
    stopping = threading.Event()

    def feed() -> None:
        while not stopping.wait(0.05):
            watching.show()

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        for width, height in ((390, 844), (1400, 900)):
            browser.open(f"http://127.0.0.1:{watching.page.port}/", width, height)
            browser.wait("document.querySelector('#shapes li') && document.querySelector('#live').naturalWidth === 320")
            browser.wait("document.querySelector('#counts').textContent.includes('gate: out, car')")
            assert browser.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"too wide at {width}"
            assert len(browser.screenshot()) > 5000
        browser.click("#add-zone")
        for across, down in ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75)):
            browser.click("#overlay", across, down)
        browser.click("#done")
        browser.click("#save")
        browser.wait("document.querySelector('#hint').textContent === 'Saved.'")
        assert browser.errors == []
    finally:
        stopping.set()
        thread.join()
        browser.close()
    (zone,) = load(watching.path).camera("north side").zones
    assert zone.name == "zone 1"
    np.testing.assert_allclose(zone.points, [[80, 45], [240, 45], [240, 135]], atol=2)
    assert "# kept" in watching.path.read_text()
