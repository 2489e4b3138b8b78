"""Plates from `reeltag export` by `reeltag watch` to the disk: read right, and nowhere to be found where hashed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.plates.recogniser import recogniser
from benchmarks.plates.street import write
from benchmarks.plates.vehicle import Look, Picture, draw
from edge.command import main
from edge.pipeline.still_detector import StillDetector
from edge.traffic.salts import Salts
from edge.traffic.texts import Recogniser
from reeltag.cli import app
from tests.edge import colour_detector

PLATES = ("M RT 4712", "KA LX 359")
RAW = [plate.replace(" ", "") for plate in PLATES]
HEIGHT, WIDTH, RATE = 540, 960, 15


def pictures() -> Iterator[Picture]:
    """One vehicle comes and leaves; the other is still there when the video ends."""
    random = np.random.default_rng(4)
    ground = random.integers(80, 110, (HEIGHT, WIDTH, 1)).repeat(3, axis=2).astype(np.uint8)
    for index in range(50):
        picture = ground.copy()
        number, step = divmod(index, 25)
        if step < (20 if number == 0 else 25):
            wide = 230 + 6 * step
            box = (330.0 - 4 * step, 40.0 + 6 * step, 330.0 - 4 * step + wide, 40.0 + 6 * step + 0.8 * wide)
            draw(picture, box, Look(PLATES[number], ((200, 30, 30), (30, 30, 200))[number], is_from_behind=True))
        yield np.clip(picture + random.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three networks that were exported by the commands of docs/edge.md, and a video."""
    folder = tmp_path_factory.mktemp("site")
    write(folder / "street.mp4", pictures(), RATE)
    for name, colour, size, label in (
        ("vehicles", "colourful", (270, 480), "car"),
        ("plates", "white", (160, 320), "plate"),
    ):
        colour_detector.write(folder / f"{name}.onnx", colour, *size)
        (folder / f"{name}.txt").write_text(f"{label}\n")
        said = [
            "--onnx",
            folder / f"{name}.onnx",
            "--task",
            "detect",
            "--head",
            "none",
            "--labels",
            folder / f"{name}.txt",
        ]
        export(folder, name, *said)
    export(folder, "plate_text", "--onnx", recogniser(), "--task", "text")
    return folder


def export(folder: Path, name: str, *said: object) -> None:
    command = ["export", name, *map(str, said), "--model-repository", str(folder / "models")]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output


def configured(site: Path, name: str, **plates: Any) -> Path:
    said = {
        "detector": {"model": "vehicles"},
        "cameras": [
            {
                "name": "street",
                "source": "street.mp4",
                "picture": [WIDTH, HEIGHT],
                "lines": [{"name": "gate", "points": [[0, 300], [WIDTH, 300]]}],
            }
        ],
        "plates": {"detector": "plates", "recogniser": "plate_text", "country": "de", **plates},
        "events": {
            "folder": f"{name}/spool",
            "file": {"path": f"{name}/events.jsonl"},
            "snapshots": {"folder": f"{name}/snapshots", "kinds": ["line_crossed", "plate"]},
        },
    }
    path = site / f"{name}.yaml"
    path.write_text(yaml.safe_dump(said))
    return path


def watched(site: Path, path: Path, capfd: pytest.CaptureFixture[str]) -> tuple[list[dict[str, Any]], str]:
    """The events, and all that was printed."""
    assert main(["--config", str(path), "--every-frame", "--model-repository", str(site / "models")]) == 0
    out, err = capfd.readouterr()
    return [json.loads(line) for line in out.splitlines()], out + err


def test_raw_plates_are_read_also_of_who_is_there_at_the_end(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    events, _ = watched(site, configured(site, "raw", raw=True), capfd)
    plates = [event for event in events if event["kind"] == "plate"]
    assert [event["plate"] for event in plates] == RAW
    assert min(event["confidence"] for event in plates) > 0.8
    assert [event["track"] for event in plates] == [1, 2]
    kept = [json.loads(line) for line in (site / "raw/events.jsonl").read_text().splitlines()]
    assert [event["plate"] for event in kept if event["kind"] == "plate"] == RAW
    assert len(readable(site, "raw")) == 4  # each as it crossed the line, and at the best view of its plate
    assert {event["snapshot"] for event in plates} <= set(readable(site, "raw"))


def test_hashed_plates_are_nowhere_to_be_found(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    events, said = watched(site, configured(site, "hashed"), capfd)
    plates = [event for event in events if event["kind"] == "plate"]
    assert len({event["plate_hash"] for event in plates}) == 2
    assert len({event["salt"] for event in plates}) == 1
    salts = Salts(site / "hashed/spool/plate-salt.json")
    assert [salts.hashed(raw, plates[-1]["time"])[1] for raw in RAW] == [event["plate_hash"] for event in plates]
    for raw in RAW:
        assert raw not in said
        for file in (site / "hashed").rglob("*"):
            assert not file.is_file() or raw.encode() not in file.read_bytes(), file
    assert len(list((site / "hashed/snapshots").iterdir())) == 4
    assert readable(site, "hashed") == []


def readable(site: Path, name: str) -> list[str]:
    """Snapshots in which a plate can be read, as they are and enlarged, at the place that it has in those of `raw`."""
    find, read = StillDetector(site / "models", "plates", 0.4), Recogniser(site / "models", "plate_text")
    found = []
    for file in sorted((site / name / "snapshots").iterdir()):
        clear, picture = (cv2.imread(str(path))[..., ::-1] for path in (site / "raw/snapshots" / file.name, file))
        scale = picture.shape[1] / clear.shape[1]
        x1, y1, x2, y2 = (find(np.ascontiguousarray(clear))[0, :4] * scale).round().astype(int)
        plate = picture[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1]
        enlarged = [cv2.resize(plate, None, fx=by, fy=by, interpolation=cv2.INTER_CUBIC) for by in (1, 2, 4)]
        if {read(np.asarray(one, np.uint8)).text for one in enlarged} & set(RAW):
            found.append(file.name)
    find.close()
    return found


def test_what_reads_plates_is_checked(site: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = configured(site, "checked", recogniser="plate_texts")
    command = ["--config", str(path), "--check", "--model-repository", str(site / "models")]
    assert main(command) == 2
    assert "no text recogniser plate_texts" in capfd.readouterr().err
    assert main(["--config", str(configured(site, "checked")), *command[2:]]) == 0
    drawn = cv2.imread(str(site / "checked.street.jpg"))
    read, (rows, columns) = Recogniser(site / "models", "plate_text"), (slice(163, 182), slice(407, 483))
    assert read(np.ascontiguousarray(next(pictures())[rows, columns])).text == RAW[0]
    assert read(np.ascontiguousarray(drawn[rows, columns, ::-1])).text != RAW[0]
