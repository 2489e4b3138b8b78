"""What is left of vehicles and people in a picture that somebody sees."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.generated_traffic import Drawn
from edge.configuration.loading import parse
from edge.traffic.scene import Scene
from edge.veils import VEHICLE_PIXELS, Veils, veil
from edge.words import FrameTime
from tests.edge.test_page import TEXT, Watching

CAR = np.array([[100.0, 100, 500, 300]])
NOBODY = np.zeros((0, 4))


def noise() -> npt.NDArray[np.uint8]:
    """Black and white by the pixel, so that detail is contrast."""
    noise = 255 * np.random.default_rng(2).integers(0, 2, (400, 640, 1), np.uint8)
    return np.ascontiguousarray(noise.repeat(3, axis=2))


def test_of_a_vehicle_nothing_is_left_unless_plates_may_be_seen() -> None:
    hidden, shown = noise(), noise()
    veil(hidden, Veils(CAR, NOBODY), shows_plates=False)
    veil(shown, Veils(CAR, NOBODY), shows_plates=True)
    assert hidden[75:325, 45:555].std() < 25  # a box may be too tight
    assert shown[75:199, 45:555].std() < 25  # where faces are
    np.testing.assert_array_equal(shown[201:], noise()[201:])
    for picture in (hidden, shown):
        np.testing.assert_array_equal(picture[:69], noise()[:69])
        np.testing.assert_array_equal(picture[:, 561:], noise()[:, 561:])


def test_people_are_veiled_in_either_way_and_boxes_may_exceed_the_picture() -> None:
    for shows_plates in (False, True):
        picture = noise()
        outside = np.array([[600.0, 300, 900, 900], [-50, -50, 30, 90], [700, 10, 800, 50], [5, 5, 5, 5]])
        veil(picture, Veils(outside, np.array([[200.0, 120, 260, 280]])), shows_plates=shows_plates)
        assert picture[120:280, 200:260].std() < 40
        assert picture[150:250, 300:500].std() > 100


def test_what_is_small_already_stays() -> None:
    picture = noise()
    veil(picture, Veils(np.array([[10.0, 10, 10 + VEHICLE_PIXELS, 40]]), NOBODY), shows_plates=False)
    np.testing.assert_array_equal(picture, noise())


def test_a_scene_veils_what_no_track_has_yet_and_what_is_hidden_for_a_moment(tmp_path: Path) -> None:
    names = ("person", "car", "dog")
    scene = Scene(parse("cameras: [{name: a, source: x}]", tmp_path / "a.yaml"), names, "a")
    assert [len(one) for one in scene.veils()] == [0, 0, 0]
    drawn = Drawn(noise())

    def seen(index: int, *rows: list[float]) -> Veils:
        boxes = np.array(rows, np.float32).reshape(-1, 6)
        scene.update(FrameTime(index, index / 10, 1e9 + index / 10, 0.0), boxes, drawn)
        return scene.veils()

    first = seen(0, [*CAR[0], 0.9, 1], [0, 0, 9, 20, 0.15, 0], [50, 50, 60, 60, 0.9, 2])
    np.testing.assert_allclose(first.vehicles, CAR)
    np.testing.assert_allclose(first.people, [[0, 0, 9, 20]])
    seen(1, [*CAR[0], 0.9, 1])
    hidden = seen(2)
    assert len(hidden.vehicles) == 0
    np.testing.assert_allclose(hidden.unseen, CAR, atol=5)
    scene.end(is_over=True)
    assert len(scene.veils().unseen) == 0


def test_where_a_vehicle_should_be_another_ones_plate_may_be() -> None:
    for shows_plates in (False, True):
        picture = noise()
        veil(picture, Veils(NOBODY, NOBODY, CAR), shows_plates=shows_plates)
        assert bool(picture[100:300, 100:500].std() > 100) is shows_plates


@pytest.mark.parametrize("raw", [False, True])
def test_the_live_picture_has_them(tmp_path: Path, raw: bool) -> None:
    plates = f"plates: {{detector: x, recogniser: y, raw: {str(raw).lower()}}}\n"
    watching = Watching(tmp_path, TEXT + plates)
    watching.veiled = Veils(CAR, NOBODY)
    watching.picture = noise()
    try:
        picture = live(watching)
    finally:
        watching.page.close()
    assert picture[110:190, 150:450].std() < 40
    assert picture[400 - 60 :, 150:450].std() > 90
    assert bool(picture[210:290, 150:450].std() > 90) is raw


def live(watching: Watching) -> npt.NDArray[Any]:
    """The first picture that somebody gets who looks."""
    connection = http.client.HTTPConnection("127.0.0.1", watching.page.port, timeout=10)
    connection.request("GET", "/live/north%20side")
    answer = connection.getresponse()
    while not watching.page.views["north side"].lookers:
        pass
    watching.show()
    while not (line := answer.readline()).startswith(b"Content-Length"):
        pass
    answer.readline()
    data = answer.read(int(line.split()[1]))
    connection.close()
    answer.close()
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
