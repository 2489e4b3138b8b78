"""The traffic configuration: what is wrong in it, by path; and what the page saves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.configuration import schema
from edge.configuration.ground import Degenerate, Ground
from edge.configuration.loading import load, parse
from edge.configuration.problems import ConfigurationError
from edge.configuration.saving import save, version

TEXT = """\
# the north of the town
cameras:
  - name: north  # on the bridge
    source: rtsp://camera/1
    picture: [640, 360]
    ground:
      - {picture: [100, 300], metres: [0, 0]}
      - {picture: [500, 300], metres: [7, 0]}
      - {picture: [400, 100], metres: [7, 40]}
      - {picture: [200, 100], metres: [0, 40]}
    lines:
      # counts for the city
      - name: gate
        points: [[0, 200], [640, 200]]  # across all lanes
        classes: [car]
    zones:
      - name: stop
        points:
          - [10, 10]
          - [100, 10]
          - [100, 100]
        queue_kmh: 5
      - {name: lane, points: [[0, 0], [50, 0], [50, 50]]}
events:
  file: {path: events.jsonl}  # rotated
"""


def problems(change: dict[str, Any], *, names: list[str] | None = None) -> list[str]:
    """What is said about the text with a camera's members replaced."""
    document = yaml.safe_load(TEXT)
    document["cameras"][0].update(change)
    with pytest.raises(ConfigurationError) as raised:
        parse(yaml.safe_dump(document), Path("watch.yaml"), names)
    return [str(problem) for problem in raised.value.problems]


def line(*points: list[int], **more: Any) -> dict[str, Any]:
    return {"lines": [{"name": "a", "points": list(points), **more}]}


def zone(*points: list[int], **more: Any) -> dict[str, Any]:
    return {"zones": [{"name": "a", "points": list(points), **more}]}


def ground(pixels: list[list[float]], metres: list[list[float]]) -> dict[str, Any]:
    return {"ground": [{"picture": one, "metres": other} for one, other in zip(pixels, metres, strict=True)]}


BOW = ([0, 0], [100, 100], [100, 0], [0, 100])
COLLINEAR = [[0.0, 0.0], [10.0, 10.0], [20.0, 20.0], [30.0, 30.0]]
THREE = [[0.0, 0.0], [10.0, 0.0], [20.0, 0.0], [30.0, 30.0]]
SQUARE = [[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0]]


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (zone(*BOW), "cameras[0].zones[0].points", "the edge after corner 1 crosses the one after corner 3; right is"),
        (zone([0, 0], [50, 0], [100, 0]), "cameras[0].zones[0].points", "enclose nothing; right are three"),
        (
            line([0, 200], [900, 200]),
            "cameras[0].lines[0].points[1]",
            "outside of the picture; right are 0 to 640 for x",
        ),
        (line([5, 5], [5, 5]), "cameras[0].lines[0].points", "both points are the same; right are the two ends"),
        (line([5, 5]), "cameras[0].lines[0].points", "1 are fewer than 2; right is: two points"),
        (
            line([0, 0], [5, 5], classes=["lorry"]),
            "cameras[0].lines[0].classes[0]",
            "no class 'lorry'; there are: car, truck",
        ),
        (line([0, 0], [5, 5], classes=["trucks"]), "cameras[0].lines[0].classes[0]", "perhaps 'truck' is meant"),
        (line([0, 0], [5, 5], colour=1), "cameras[0].lines[0].colour", "no such setting"),
        (ground(COLLINEAR, SQUARE), "cameras[0].ground", "lie on one line (picture); right are at least four"),
        (ground(SQUARE, COLLINEAR), "cameras[0].ground", "lie on one line (metres); right are at least four"),
        (ground(THREE, SQUARE), "cameras[0].ground", "three of these points lie on a line; right are"),
        (ground(SQUARE[:3], SQUARE[:3]), "cameras[0].ground", "3 are fewer than 4; right is: at least four points"),
        ({"picture": None}, "cameras[0].picture", "what is empty is not a list; right is: width and height"),
        ({"name": 12}, "cameras[0].name", "12 is not a text unless it is quoted"),
        ({"lines": None}, "cameras[0].lines", "what is empty is not a list; right is: lines, each with a name"),
        ({"options": {"timeot": 1}}, "cameras[0].options.timeot", "perhaps 'timeout' is meant"),
        ({"options": {"timeout": 0}}, "cameras[0].options.timeout", "0 is not above 0; right is: seconds after which"),
        ({"options": {"latency_ms": True}}, "cameras[0].options.latency_ms", "true is not a whole number"),
        ({"options": {"transport": "http"}}, "cameras[0].options.transport", '"http" is none of: tcp, udp'),
        ({"name": "x" * 65}, "cameras[0].name", "65 characters are more than 64"),
    ],
)
def test_each_mistake_is_named_by_its_path_with_what_is_right(change: dict[str, Any], path: str, said: str) -> None:
    found = problems(change, names=["car", "truck"])
    assert any(one.startswith(f"{path}: ") and said in one for one in found), found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cameras: [", "is no YAML"),
        ("- a", "is not a mapping"),
        ("# nothing yet", "what is empty is not a mapping; right is: cameras, and where wanted"),
        (
            "cameras:\n\t- name: a",
            "line 2, column 1: is no YAML: found character '\\t' that",
        ),
        ("cameras: []", "cameras: 0 are fewer than 1"),
        ("cameras: [{name: a, source: x}]\ncameras: []", "'cameras' is there twice"),
        ("cameras: [{name: a, source: x}, {name: a, source: y}]", "cameras[1].name: 'a' is there twice"),
        ("cameras: [{name: a, source: x}]\nevents: {mqtt: {host: h, topic: 'a/#'}}", "events.mqtt.topic"),
    ],
)
def test_texts_that_are_no_configuration(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"watch\.yaml: ") as raised:
        parse(text, Path("watch.yaml"))
    assert said in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml")


PUBLISHED = jsonschema.Draft202012Validator(json.loads(schema.FILE.read_text()))
PLAIN = st.none() | st.booleans() | st.integers(-5, 20000) | st.floats(-5, 50) | st.sampled_from(["", "a", "x" * 70])
KEYS = st.sampled_from(["name", "points", "b"])
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner), max_leaves=5)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_the_schema_means_here_what_it_means_to_everybody(data: st.DataObject) -> None:
    document = yaml.safe_load(TEXT)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], (dict, list)):
                walk(value[key])

    walk(document)
    for _ in range(data.draw(st.integers(0, 2))):
        holder, key = data.draw(st.sampled_from(places))
        holder[key] = data.draw(VALUES)
    assert (schema.problems_of(document) == []) == PUBLISHED.is_valid(document)


def test_the_published_schema_is_one() -> None:
    PUBLISHED.check_schema(PUBLISHED.schema)


def test_a_homography_takes_points_of_the_road_to_metres() -> None:
    camera = np.array([[800.0, 30, 300], [10, 500, 120], [0.01, 0.9, 1]])
    road = np.array([[0.0, 0], [7, 0], [7, 40], [0, 40], [3, 15]])
    pixels = np.column_stack((road, np.ones(5))) @ camera.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    plane = Ground(pixels.tolist(), road.tolist())
    np.testing.assert_allclose(plane.metres(pixels), road, atol=1e-6)
    assert plane.error_metres < 1e-6


def test_above_the_horizon_there_is_no_road() -> None:
    plane = Ground([[100, 300], [500, 300], [400, 100], [200, 100]], [[0, 0], [7, 0], [7, 40], [0, 40]])
    assert np.isnan(plane.metres(np.array([[300.0, -200.0]]))).all()
    assert np.isfinite(plane.metres(np.array([[300.0, 350.0]]))).all()


def test_points_on_a_line_make_no_plane() -> None:
    with pytest.raises(Degenerate):
        Ground(COLLINEAR, COLLINEAR)


def saved(tmp_path: Path, lines: list[Any], zones: list[Any], text: str = TEXT) -> str:
    path = tmp_path / "watch.yaml"
    path.write_text(text)
    save(path, "north", lines, zones, version(path))
    new = path.read_text()
    camera = yaml.safe_load(new)["cameras"][0]
    assert (camera.get("lines", []), camera.get("zones", [])) == (lines, zones)
    return new


def shapes() -> tuple[list[Any], list[Any]]:
    camera = yaml.safe_load(TEXT)["cameras"][0]
    return camera["lines"], camera["zones"]


def test_saving_what_is_there_changes_nothing(tmp_path: Path) -> None:
    assert saved(tmp_path, *shapes()) == TEXT


def test_moved_points_leave_all_else_as_it_is(tmp_path: Path) -> None:
    lines, zones = shapes()
    lines[0]["points"] = [[1, 2], [3, 4]]
    zones[0]["points"] = [[1, 1], [9, 1], [9, 9], [1, 9]]
    new = saved(tmp_path, lines, zones)
    assert "points: [[1, 2], [3, 4]]  # across all lanes" in new
    assert new.count("#") == TEXT.count("#")
    assert "events:\n  file: {path: events.jsonl}  # rotated\n" in new


def test_shapes_come_and_go_and_comments_of_others_stay(tmp_path: Path) -> None:
    lines, zones = shapes()
    new = saved(tmp_path, [*lines, {"name": "new", "points": [[0, 0], [9, 9]]}], zones[1:])
    assert "# counts for the city" in new
    assert "queue_kmh" not in new
    assert "# rotated" in new
    assert "# the north" in saved(tmp_path, [], [], new)


def test_the_first_shapes_of_a_camera_and_one_in_braces(tmp_path: Path) -> None:
    plain = "cameras:\n  - name: north\n    source: x\n    picture: [64, 64] # small\n# the end\nevents: {}\n"
    new = saved(tmp_path, [{"name": "a", "points": [[0, 0], [9, 9]]}], [], plain)
    assert "# small" in new
    assert "# the end" in new
    saved(
        tmp_path,
        [{"name": "a", "points": [[0, 0], [9, 9]]}],
        [],
        "cameras: [{name: north, source: x, picture: [64, 64]}]",
    )


def test_what_cannot_be_used_or_is_outdated_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "watch.yaml"
    path.write_text(TEXT)
    with pytest.raises(ConfigurationError, match="crosses"):
        save(path, "north", [], [{"name": "a", "points": list(BOW)}], version(path))
    with pytest.raises(ConfigurationError, match="has changed"):
        save(path, "north", [], [], "0" * 16)
    assert path.read_text() == TEXT
    assert list(tmp_path.iterdir()) == [path]
