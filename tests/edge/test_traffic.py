"""Tracks, lines, zones, speeds: what is said of vehicles on known paths."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.generated_traffic import CLASSES, Drawn, compare
from edge.configuration.loading import parse
from edge.traffic.boxes import best_pairs, overlaps
from edge.traffic.scene import Scene
from edge.traffic.tracker import LOST_SECONDS, Tracker
from edge.words import Event, FrameTime

PICTURE = Drawn(np.zeros((360, 640, 3), np.uint8))
RATE = 10.0


def box(x: float, y: float, score: float = 0.9, kind: int = 0, size: float = 40.0) -> list[float]:
    return [x - size / 2, y - size, x + size / 2, y, score, kind]


def rows(*boxes: list[float]) -> npt.NDArray[np.float32]:
    return np.array(boxes, np.float32).reshape(-1, 6)


SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5))
LIKENESSES = st.sampled_from([0.0, 0.15, 0.3, 0.5, 0.8, 1.0])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(arrays(np.float64, SHAPES, elements=LIKENESSES))
def test_pairs_are_the_best_of_all_ways(likeness: npt.NDArray[np.float64]) -> None:
    count, width = likeness.shape
    usable = np.where(likeness >= 0.2, likeness, 0.0)
    if count <= width:
        best = max(sum(usable[i, c] for i, c in enumerate(way)) for way in itertools.permutations(range(width), count))
    else:
        best = max(sum(usable[r, i] for i, r in enumerate(way)) for way in itertools.permutations(range(count), width))
    pairs = best_pairs(likeness, 0.2)
    assert sum(likeness[pair] for pair in pairs) == pytest.approx(best)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert all(likeness[pair] >= 0.2 for pair in pairs)


def test_overlap_is_intersection_over_union() -> None:
    one = np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    np.testing.assert_allclose(overlaps(one, np.array([[5.0, 0, 15, 10]])), np.array([[1 / 3], [0.0]]), rtol=1e-6)


def drive(tracker: Tracker, hidden: tuple[float, float], seconds: float = 6.0) -> list[tuple[float, int]]:
    """A vehicle at 60 pixels a second that nobody sees for a while; its numbers."""
    seen = []
    for index in range(int(seconds * RATE)):
        now = index / RATE
        boxes = rows() if hidden[0] <= now < hidden[1] else rows(box(50 + 60 * now, 200))
        seen += [(now, track.number) for track in tracker.update(now, boxes)]
    return seen


def test_a_vehicle_keeps_its_number_behind_a_bridge() -> None:
    seen = drive(Tracker(), (2.0, 2.0 + LOST_SECONDS - 0.15))
    assert {number for _, number in seen} == {1}
    assert seen[-1][0] == pytest.approx(5.9)


def test_it_is_another_one_after_too_long() -> None:
    assert {number for _, number in drive(Tracker(), (2.0, 2.3 + LOST_SECONDS))} == {1, 2}


def test_unsure_boxes_carry_a_track_and_begin_none() -> None:
    tracker = Tracker()
    for index in range(20):
        tracker.update(index / RATE, rows(box(100 + 5 * index, 200, 0.9 if index < 3 else 0.15), box(400, 300, 0.3)))
    assert [(track.number, track.hits) for track in tracker.tracks] == [(1, 20)]


def test_dropped_frames_do_not_break_a_track() -> None:
    tracker = Tracker()
    for index in [0, 1, 2, 3, 4, 5, 9, 13, 17, 21]:
        found = tracker.update(index / RATE, rows(box(50 + 15 * index, 200)))
    assert [track.number for track in found] == [1]


def test_a_false_box_does_not_take_a_track_whose_own_box_is_there() -> None:
    """Else a vehicle that was lost in the same place would be taken to have come back."""
    tracker = Tracker()
    for index in range(5):  # one stands and is not seen any more, another comes up to it
        tracker.update(index / RATE, rows(box(113, 200), box(100 - 12 * (10 - index), 200)))
    for index in range(5, 10):
        tracker.update(index / RATE, rows(box(100 - 12 * (10 - index), 200)))
    found = tracker.update(1.0, rows(box(100, 200), [80, 160, 102, 200, 0.8, 0]))
    assert [(track.number, track.detection) for track in found] == [(2, 0)]


def test_one_that_was_seen_just_now_goes_before_one_that_was_lost() -> None:
    tracker = Tracker()
    for index in range(5):
        tracker.update(index / RATE, rows(box(100, 200), box(128, 200)))
    tracker.update(0.5, rows(box(128, 200)))
    found = tracker.update(0.6, rows(box(113.5, 200)))
    assert [track.number for track in found] == [2]


def test_the_class_is_that_of_most_frames() -> None:
    tracker = Tracker()
    for index, kind in enumerate([1, 0, 0, 2, 0, 0, 1, 0]):
        tracker.update(index / RATE, rows(box(100, 200, 0.9, kind)))
    (track,) = tracker.tracks
    assert track.class_index == 0
    assert track.class_share == pytest.approx(5 / 8)


def scene(shapes: str, ground: bool = False) -> Scene:
    road = (
        "    ground:\n"
        + "".join(
            f"      - {{picture: [{x}, {y}], metres: [{x / 20}, {y / 20}]}}\n"
            for x, y in ((0, 0), (640, 0), (640, 360), (0, 360))
        )
        if ground
        else ""
    )
    text = f"cameras:\n  - name: road\n    source: x\n    picture: [640, 360]\n{road}{shapes}"
    return Scene(parse(text, Path("watch.yaml"), ["car", "person"]), ["car", "person"], "road", run="test")


def happens(scene: Scene, places: list[list[list[float]]]) -> list[Event]:
    """The events of boxes frame by frame."""
    events: list[Event] = []
    for index, boxes in enumerate(places):
        events += scene.update(FrameTime(index, index / RATE, 1e9 + index / RATE, 0.0), rows(*boxes), PICTURE)
    return events


def kinds(events: list[Event], *wanted: str) -> list[dict[str, Any]]:
    return [{"kind": event.kind, **event.fields} for event in events if event.kind in wanted]


LINE = "    lines:\n      - {name: gate, points: [[320, 0], [320, 360]], forward: west, backward: east}\n"


def test_a_line_counts_by_direction() -> None:
    road = scene(LINE)
    there = [[box(100 + 20 * index, 100), box(600 - 20 * index, 300)] for index in range(26)]
    crossed = kinds(happens(road, there), "line_crossed")
    assert sorted((one["direction"], one["track"]) for one in crossed) == [("east", 1), ("west", 2)]
    assert road.counts()["lines"]["gate"] == [
        {"direction": "east", "class": "car", "count": 1},
        {"direction": "west", "class": "car", "count": 1},
    ]


def test_one_that_trembles_on_the_line_is_counted_once() -> None:
    there = [[box(200 + 10 * index, 100)] for index in range(12)]
    there += [[box(320 + (-1) ** index, 100)] for index in range(50)]
    there += [[box(325 + 10 * index, 100)] for index in range(12)]
    assert len(kinds(happens(scene(LINE), there), "line_crossed")) == 1


def test_one_that_is_hidden_at_the_line_is_counted_and_one_beside_it_is_not() -> None:
    hidden = [[box(200 + 15 * index, 100)] if not 6 <= index <= 11 else [] for index in range(24)]
    assert len(kinds(happens(scene(LINE), hidden), "line_crossed")) == 1
    short = LINE.replace("[320, 360]", "[320, 90]")
    beside = [[box(200 + 15 * index, 300)] for index in range(24)]
    assert kinds(happens(scene(short), beside), "line_crossed") == []


def test_other_classes_are_not_counted() -> None:
    there = [[box(100 + 20 * index, 100, kind=1)] for index in range(26)]
    assert kinds(happens(scene(LINE), there), "line_crossed") == []
    people = scene(LINE.replace("name: gate", "name: gate, classes: [person]"))
    assert len(kinds(happens(people, there), "line_crossed")) == 1


ZONE = "    zones:\n      - {name: stop, points: [[200, 0], [400, 0], [400, 360], [200, 360]]%s}\n"


def test_dwell_in_a_zone_is_measured() -> None:
    through = [[box(100 + 10 * index, 100)] for index in range(40)]
    events = kinds(happens(scene(ZONE % ""), through), "zone_entered", "zone_left")
    assert [one["kind"] for one in events] == ["zone_entered", "zone_left"]
    assert events[1]["dwell_seconds"] == pytest.approx(2.0, abs=0.15)


def test_a_track_that_ends_in_a_zone_leaves_it_when_it_was_last_seen() -> None:
    there = [[box(150 + 10 * index, 100)] for index in range(15)] + [[]] * 20
    (left,) = kinds(happens(scene(ZONE % ""), there), "zone_left")
    assert left["dwell_seconds"] == pytest.approx(0.9, abs=0.15)


def test_a_vehicle_that_stops_is_reported_once_and_again_when_it_stops_again() -> None:
    stand = [[box(300, 100)]] * 60
    there = [[box(205 + 10 * index, 100)] for index in range(10)] + stand
    assert len(kinds(happens(scene(ZONE % ", stopped_seconds: 4"), there), "vehicle_stopped")) == 1
    again = there + [[box(300 + 5 * index, 100)] for index in range(12)] + [[box(355, 100)]] * 60
    assert len(kinds(happens(scene(ZONE % ", stopped_seconds: 4"), again), "vehicle_stopped")) == 2
    assert kinds(happens(scene(ZONE % ", stopped_seconds: 8"), there), "vehicle_stopped") == []


def test_the_wrong_way_is_told_by_the_way_of_the_zone() -> None:
    right = [[box(205 + 5 * index, 100)] for index in range(39)]
    road = ZONE % ", way: [[200, 100], [400, 100]]"
    assert kinds(happens(scene(road), right), "wrong_way") == []
    assert len(kinds(happens(scene(road), right[::-1]), "wrong_way")) == 1
    across = [[box(300, 50 + 8 * index)] for index in range(30)]
    assert kinds(happens(scene(road), across), "wrong_way") == []


def test_the_queue_is_who_stands() -> None:
    standing = [box(230, 100), box(300, 100), box(370, 100)]
    passing = [[*standing, box(min(205 + 20 * index, 620), 250)] for index in range(40)]
    queues = kinds(happens(scene(ZONE % ", queue_kmh: 5", ground=True), passing), "queue")
    assert [one["length"] for one in queues] == [3]


def test_speed_is_that_over_the_road_and_its_error_is_stated() -> None:
    there = [[box(20 + 20 * index, 100)] for index in range(30)]  # 200 pixels a second are 10 m/s
    (crossed,) = kinds(happens(scene(LINE, ground=True), there), "line_crossed")
    assert crossed["speed_kmh"] == pytest.approx(36, rel=0.01)
    assert 0 < crossed["speed_error_kmh"] < 2


def test_a_recording_that_is_watched_again_has_the_same_events_and_a_camera_has_not() -> None:
    there = [[box(100 + 20 * index, 100)] for index in range(26)] + [[]] * 20
    first, second = happens(scene(LINE), there), happens(scene(LINE), there)
    assert [event.id for event in first] == [event.id for event in second]
    assert len({event.id for event in first}) == len(first) == 2
    live = scene(LINE)
    live._run = "another"
    assert not {event.id for event in happens(live, there)} & {event.id for event in first}


def test_other_shapes_are_taken_while_tracks_go_on() -> None:
    road = scene(ZONE % "")
    happens(road, [[box(100 + 10 * index, 100)] for index in range(10)])
    road.configure(
        parse(f"cameras:\n  - name: road\n    source: x\n    picture: [640, 360]\n{LINE}", Path("w")).cameras[0]
    )
    events: list[Event] = []
    for index in range(10, 40):
        time = FrameTime(index, index / RATE, 1e9 + index / RATE, 0.0)
        events += road.update(time, rows(box(100 + 10 * index, 100)), PICTURE)
    assert [(one["track"], one["direction"]) for one in kinds(events, "line_crossed")] == [(1, "east")]


def test_points_are_scaled_to_pictures_of_another_size() -> None:
    road = scene(LINE)
    half = Drawn(np.zeros((180, 320, 3), np.uint8))
    crossed = []
    for index in range(26):
        time = FrameTime(index, index / RATE, 0.0, 0.0)
        crossed += road.update(time, rows(box(50 + 10 * index, 50, size=30)), half)
    assert [event.kind for event in crossed] == ["line_crossed"]


def test_a_drawn_road_is_counted_and_its_speeds_are_right() -> None:
    found = compare(24, 11)
    assert found["counted"] == found["drawn"]
    assert found["class_right"] == 1.0
    assert found["speeds"] >= 20
    assert found["speed_error_median"] < 0.03
    assert found["speed_error_p95"] < 0.05
    assert found["speed_within_two_stated_errors"] > 0.9
    assert len(CLASSES) == 3


@pytest.mark.parametrize(
    ("run", "is_over", "told"), [(None, False, 1), (None, True, 1), ("a", True, 1), ("a", False, 0)]
)
def test_who_is_there_at_the_end_is_told_unless_a_recording_may_be_watched_again(
    tmp_path: Path, run: str | None, is_over: bool, told: int
) -> None:
    road = Scene(parse("cameras: [{name: a, source: x}]", tmp_path / "a.yaml"), CLASSES, "a", run)
    assert road.end(is_over=True) == []
    for index in range(5):
        events = road.update(FrameTime(index, index / RATE, 1e9, 0.0), rows(box(100 + 10 * index, 100)), PICTURE)
        assert events == []
    ended = road.end(is_over=is_over)
    assert [(event.kind, event["track"], event.time.index) for event in ended] == [("vehicle", 1, 4)] * told
    assert road.end(is_over=is_over) == []
