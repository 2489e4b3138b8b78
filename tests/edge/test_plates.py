"""Plates: agreed on over a track, and kept so that nobody can tell whose they are."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.generated_traffic import Drawn
from benchmarks.plates import recogniser as bundled
from edge.configuration.loading import parse
from edge.traffic.plate_reading import PlateReading
from edge.traffic.plates import PATTERNS, PlateReader, Reading, fitted, vote
from edge.traffic.salts import Salts
from edge.traffic.texts import Recogniser
from edge.traffic.tracker import Tracker
from edge.words import FrameTime
from exporters.catalogue.packages import demo_video
from exporters.texts import TextOptions, export_text
from reeltag.errors import InputError, UnknownModel

TIME = FrameTime(0, 0.0, 1.7e9, 0.0)


def reading(text: str, score: float = 0.9) -> Reading:
    return Reading(text, (score,) * len(text))


def test_the_vote_is_by_character_among_those_of_the_likeliest_length() -> None:
    text, sure = vote([reading("AB12CDE"), reading("AB12CD", 0.5), reading("A812CDE", 0.4), reading("AB12CDF", 0.3)])
    assert text == "AB12CDE"
    assert 0.3 < sure < 0.9
    text, sure = vote([reading("X1", 0.8)] * 3)
    assert text == "X1"
    assert sure == pytest.approx(0.8)
    assert vote([]) == ("", 0.0)


def test_one_near_and_sure_reading_outweighs_far_and_unsure_ones() -> None:
    far = [reading("OW7731", 0.7)._replace(height=9.0)] * 4
    near = reading("OUJ7731", 0.97)._replace(height=20.0)
    text, sure = vote([*far, near])
    assert text == "OUJ7731"
    assert sure > 0.5
    assert vote([*far, near._replace(height=9.0, scores=(0.7,) * 7)])[0] == "OW7731"


@pytest.mark.parametrize(
    ("country", "text", "plate"),
    [
        ("gb", "AB12CDE", "AB12CDE"),
        ("gb", "A812CDE", "AB12CDE"),
        ("gb", "ABIZCDE", "AB12CDE"),
        ("gb", "AB12CD", ""),
        ("de", "BAB1234", "BAB1234"),
        ("de", "BAB93345", ""),
        ("fr", "AA1Z3BB", "AA123BB"),
        ("es", "1234BCD", "1234BCD"),
        ("es", "1234ABC", ""),
        ("any", "AB1", ""),
    ],
)
def test_the_form_of_a_country_decides_what_looks_alike(country: str, text: str, plate: str) -> None:
    assert fitted(text, PATTERNS[country]) == plate


def test_hashes_agree_for_a_while_and_the_salt_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "salt.json"
    name, digest = Salts(path).hashed("AB12CDE", 1000.0)
    kept = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Salts(path).hashed("AB12CDE", 1000.0 + 86399) == (name, digest)
    assert Salts(path).hashed("AB12CDF", 1000.0)[1] != digest
    later, other = Salts(path).hashed("AB12CDE", 1000.0 + 86401)
    assert later != name
    assert other != digest
    assert json.loads(kept)["salt"] not in path.read_text()
    assert Salts(path).hashed("AB12CDE", 5.0)[0] != later  # a clock that went back begins anew


def recogniser(tmp_path: Path) -> Recogniser:
    """That of RapidOCR, by way of the exporter."""
    said = export_text("plate_text", TextOptions(bundled.recogniser()), tmp_path)
    assert "6625 characters" in said
    return Recogniser(tmp_path, "plate_text")


def test_a_track_with_a_plate_says_it_once_hashed_or_raw(tmp_path: Path) -> None:
    read = recogniser(tmp_path)
    random = np.random.default_rng(3)
    tracker = Tracker()
    hashing = PlateReader({"country": "de"}, _white, read, Salts(tmp_path / "salt.json"))
    raw = PlateReader({"country": "de", "raw": True}, _white, read, None)
    for index in range(9):
        picture = random.integers(0, 90, (360, 640, 3)).astype(np.uint8)
        left = 40 + 10 * index
        picture[100:300, left : left + 300] = (150, 30, 30)
        plate = np.full((40, 170, 3), 255, np.uint8)
        cv2.putText(plate, "B AB 1234", (6, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.95, (0, 0, 0), 2, cv2.LINE_AA)
        picture[240:280, left + 60 : left + 230] = plate
        boxes = np.array([[left, 100, left + 300, 300, 0.9, 0]], np.float32)
        tracks = tracker.update(index / 10, boxes)
        hashing.look(tracks, Drawn(picture))
        raw.look(tracks, Drawn(picture))
    said = raw.settled(1, TIME)
    assert said is not None
    assert said["plate"] == "BAB1234"
    assert said["confidence"] > 0.9
    assert said["readings"] == 8
    hashed = hashing.settled(1, TIME)
    assert hashed is not None
    assert set(hashed) == {"plate_hash", "salt", "confidence", "readings"}
    assert "BAB1234" not in json.dumps(hashed)
    assert raw.settled(1, TIME) is None


class Road:
    """Vehicles whose plates are found and read as a test says."""

    def __init__(self) -> None:
        self.tracker, self.index = Tracker(), 0
        self.plates: list[list[float]] = [[10, 10, 40, 20, 0.9, 0]]
        self.text = "AB12CDE"
        self.looked_at: list[tuple[int, ...]] = []
        self.reader = PlateReader({"country": "gb", "raw": True}, self._find, lambda _: reading(self.text), None)

    def _find(self, vehicle: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.looked_at.append(vehicle.shape)
        return np.array(self.plates, np.float32).reshape(-1, 6)

    def show(self, *boxes: tuple[float, ...]) -> None:
        self.index += 1
        rows = np.array([[*box, 0.9, 0] for box in boxes], np.float32)
        picture = np.zeros((600, 900, 3), np.uint8)
        self.reader.look(self.tracker.update(self.index / 10, rows), Drawn(picture))


def test_a_vehicle_that_comes_nearer_is_read_again_and_its_nearest_readings_vote() -> None:
    road = Road()
    road.text = "XX99XXX"
    for _ in range(20):
        road.show((100, 100, 200, 180))
    assert len(road.looked_at) == 8
    road.text = "AB12CDE"
    for step in range(12):
        wide = 100 * 1.12**step
        road.plates = [[0.1 * wide, 0.1 * wide, 0.4 * wide, 0.2 * wide, 0.9, 0]]
        road.show((100, 100, 100 + wide, 100 + 0.8 * wide))
    assert {one.text for one in road.reader.readings(1)} == {"AB12CDE"}
    said = road.reader.settled(1, TIME)
    assert said is not None
    assert said["plate"] == "AB12CDE"
    assert road.reader.readings(1) == ()


def test_a_vehicle_without_a_plate_does_not_keep_others_from_being_read() -> None:
    road = Road()
    find = road.reader._find
    road.reader._find = lambda vehicle: find(vehicle)[: vehicle.shape[1] < 300]
    for _ in range(20):
        road.show((0, 0, 400, 300), (500, 300, 600, 380))
    assert len(road.reader.readings(2)) == 8
    wide = sum(shape[1] == 400 for shape in road.looked_at)
    assert 8 <= wide <= 10  # and once a second, should it show one later


def test_a_plate_is_of_the_vehicle_before() -> None:
    """Two boxes around it: that whose lower side is lower stands nearer."""
    road = Road()
    road.plates = [[110, 160, 160, 175, 0.95, 0], [20, 60, 60, 70, 0.6, 0]]
    for _ in range(12):
        road.show((100, 100, 400, 300), (180, 220, 330, 340))
    behind, before = road.reader.readings(1), road.reader.readings(2)
    assert {one.height for one in behind} == {10}  # the surer one lies in the other vehicle
    assert len(before) > 0


def test_as_few_characters_as_can_be_are_exchanged() -> None:
    assert fitted("BO8", r"[A-Z]{1,2}[0-9]{1,2}") == "BO8"
    assert fitted("8O8", r"[A-Z]{1,2}[0-9]{1,2}") == "BO8"
    assert fitted("OO8", r"[0-9]{3}|[A-Z]{3}") == "OOB"


def _white(vehicle: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Finds what is white: the test's plate detector."""
    rows, columns = np.nonzero((vehicle > 200).all(axis=2))
    if not len(rows):
        return np.zeros((0, 6), np.float32)
    return np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9, 0]], np.float32)


def test_what_is_no_recogniser_is_refused(tmp_path: Path) -> None:
    onnx = bundled.models()
    with pytest.raises(InputError, match="right is"):
        export_text("x", TextOptions(onnx / "ch_ppocr_mobile_v2.0_cls_infer.onnx"), tmp_path)
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\n")
    with pytest.raises(InputError, match=r"tells 6624 characters apart, but 2 characters are given; right is --labels"):
        export_text("x", TextOptions(onnx / "ch_PP-OCRv4_rec_infer.onnx", labels=labels), tmp_path)
    with pytest.raises(UnknownModel, match="reeltag export none --onnx FILE --task text"):
        Recogniser(tmp_path, "none")
    assert not (tmp_path / ".text").exists()


def test_the_plate_detector_is_one_of_the_repository(model_repository: Path, tmp_path: Path) -> None:
    """With the detector that comes with reeltag: boxes are in pixels of the vehicle's picture, the best first."""
    capture = cv2.VideoCapture(str(demo_video(tmp_path)))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 120)
    frame = np.asarray(capture.read()[1][..., ::-1], np.uint8)
    capture.release()
    text = "cameras: [{name: a, source: x}]\nplates: {detector: nanodet_g, recogniser: plate_text}\n"
    recogniser(tmp_path)
    folder = tmp_path / "repository"
    shutil.copytree(model_repository, folder)
    shutil.copytree(tmp_path / ".text", folder / ".text")
    read = parse(text, tmp_path / "watch.yaml")
    find = PlateReading(read, folder).reader()._find
    found = find(frame)
    height, width = frame.shape[:2]
    assert found[0, 4] > 0.6  # somebody on a bicycle
    assert (np.diff(found[:, 4]) <= 0).all()
    assert found[:, 2].max() > 0.3 * width
    assert (found[:, :4] <= np.array([width, height] * 2)).all()
    half = find(frame[: height // 2 * 2 : 2, : width // 2 * 2 : 2])
    np.testing.assert_allclose(half[0, :4] * 2, found[0, :4], atol=0.06 * width)
    with pytest.raises(UnknownModel):
        PlateReading(read._replace(plates={"detector": "none", "recogniser": "plate_text"}), folder)
