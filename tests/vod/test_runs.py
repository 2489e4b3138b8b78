"""Runs over many inputs: nothing stops one, and results of several runs live in one folder."""

from __future__ import annotations

import asyncio
import colorsys
import csv
import io
import json
import os
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import validate
from rich.console import Console

from reeltag.errors import OutputError
from reeltag.tags import Detection, ImageTags, VideoTags
from tests.vod.fake import FakeTagger
from tests.vod.media import GREEN, RED, picture
from tests.vod.test_schema import PUBLISHED
from vod.console import ConsoleProgress, tags_table
from vod.options import TagOptions
from vod.outcome import Outcome, Silence, Status
from vod.pages.darkroom import Darkroom, Job
from vod.pages.page import colours_of
from vod.pages.report import RunReport
from vod.stores.names import result_name, shown
from vod.stores.results import result_path
from vod.stores.thumbnails import encode
from vod.tagging import tag_paths
from vod.tiles import MAX_TILES, Tile, Tiles, merged, tiles_of


def tag(
    paths: list[Path], out: Path, report: Path | None = None, console: Console | None = None, **options: Any
) -> dict[str, Outcome]:
    async def run() -> list[Outcome]:
        shown_on = console or Console(file=io.StringIO())
        with ConsoleProgress(shown_on) as bar, RunReport(report, bar) as told:
            outcomes = await tag_paths(paths, out, FakeTagger(), TagOptions(**options), told)
            bar.conclude(outcomes)
            return outcomes

    return {shown(outcome.path.name): outcome for outcome in asyncio.run(run())}


def json_of(out: Path, source: Path) -> Path:
    return result_path(out, result_name(source), ".tags.json")


@pytest.fixture
def jpeg() -> bytes:
    return encode(picture(RED, 64, 48))


@pytest.fixture
def odd_folder(tmp_path: Path, three_colours: Path, jpeg: bytes) -> Path:
    """Names and kinds of files that stopped runs."""
    folder = tmp_path / "in"
    folder.mkdir()
    video = three_colours.read_bytes()
    for name in (b"caf\xe9.mp4", b"a" * 248 + b".mp4", b"z.mp4"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(video)
    for name in (b"na\xefve.jpg", b"b" * 250 + b".jpg", b"line\nbreak [bold].jpg"):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(jpeg)
    os.mkfifo(folder / "pipe.mp4")
    (folder / "gone.mp4").symlink_to("nowhere.mp4")
    (folder / "notes.txt").write_text("text")
    return folder


def test_no_name_and_no_file_stops_a_run(odd_folder: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.jsonl"
    outcomes = tag([odd_folder], out, report)
    by_status = {status: {name for name, each in outcomes.items() if each.status is status} for status in Status}
    assert by_status[Status.FAILED] == {"pipe.mp4", "gone.mp4"}
    assert by_status[Status.IGNORED] == {"notes.txt"}
    assert len(by_status[Status.TAGGED]) == 6
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert {line["status"] for line in lines} == {"done", "failed", "ignored"}
    told = {Path(line["path"]).name: line for line in lines}
    assert "named pipe" in told["pipe.mp4"]["reason"]
    assert told["caf\\xe9.mp4"]["duration_seconds"] == pytest.approx(3)
    results = sorted(out.rglob("*.tags.json"))
    assert len(results) == 6
    paths = set()
    for path in results:
        data = json.loads(path.read_text())
        validate(data, json.loads(PUBLISHED.read_text()))
        paths.add(data["source"]["path"])
    assert str(odd_folder / "caf\\xe9.mp4") in paths
    assert {line.get("status") for line in lines if line.get("gaps")} == set()
    again = tag([odd_folder], out, report)
    assert {each.status for each in again.values()} == {Status.DONE, Status.FAILED, Status.IGNORED}
    assert [json.loads(line)["status"] for line in report.read_text().splitlines()].count("skipped") == 6


def test_a_result_that_cannot_be_written_fails_its_input_alone(
    tmp_path: Path, three_colours: Path, jpeg: bytes
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(three_colours, folder / name)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(jpeg)
    for name in ("a.mp4", "a.jpg"):
        json_of(out, folder / name).mkdir(parents=True)  # root is not stopped by a mode
    outcomes = tag([folder], out)
    assert {name: each.status for name, each in outcomes.items()} == {
        "a.jpg": Status.FAILED,
        "a.mp4": Status.FAILED,
        "b.jpg": Status.TAGGED,
        "b.mp4": Status.TAGGED,
    }
    assert "cannot be written" in outcomes["a.mp4"].reason


def test_two_runs_share_an_output_folder(tmp_path: Path, three_colours: Path, jpeg: bytes) -> None:
    out = tmp_path / "out"
    for side in "AB":
        (tmp_path / side).mkdir()
        shutil.copy(three_colours, tmp_path / side / "x.mp4")
        (tmp_path / side / "p.jpg").write_bytes(encode(picture(RED if side == "A" else GREEN, 64, 48)))
    tag([tmp_path / "A"], out)
    before = json_of(out, tmp_path / "A" / "x.mp4").stat().st_mtime_ns
    shutil.copy(three_colours, tmp_path / "A" / "x.mov")
    tag([tmp_path / "B"], out)
    assert json_of(out, tmp_path / "A" / "x.mp4").stat().st_mtime_ns == before
    index = (out / "index.html").read_text()
    assert index.count('<article class="card">') == 2
    assert str(tmp_path / "A" / "x.mp4") in index
    assert '<a href="images.html">2 images</a>' in index
    rows = list(csv.DictReader((out / "images.csv").read_text().splitlines()))
    assert {(Path(row["path"]).parent.name, row["label"]) for row in rows if row["of"] == "box"} == {
        ("A", "car"),
        ("B", "person"),
    }
    sheet = (out / "images.html").read_text()
    assert sheet.count("<img ") == 2
    found = tag([tmp_path / "A"], out)
    assert found["x.mp4"].status is Status.DONE
    assert found["x.mov"].status is Status.TAGGED


@pytest.mark.parametrize("name", ["x.mp4", "x.jpg"])
def test_the_stale_result_of_a_source_that_broke_is_removed(
    tmp_path: Path, three_colours: Path, jpeg: bytes, name: str
) -> None:
    source, out = tmp_path / name, tmp_path / "out"
    source.write_bytes(three_colours.read_bytes() if name == "x.mp4" else jpeg)
    tag([source], out)
    source.write_bytes(source.read_bytes()[:150])
    outcome = tag([source], out)[name]
    assert outcome.status is Status.FAILED
    assert "the result of its earlier content was removed" in outcome.reason
    assert not list(out.rglob("x.*"))


def test_results_of_an_earlier_version_are_moved_to_their_names(
    tmp_path: Path, three_colours: Path, jpeg: bytes
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "trip").mkdir(parents=True)
    shutil.copy(three_colours, folder / "trip" / "x.mp4")
    (folder / "p.jpg").write_bytes(jpeg)
    tag([folder], out)
    for source, old in ((folder / "trip" / "x.mp4", out / "trip" / "x"), (folder / "p.jpg", out / "p")):
        old.parent.mkdir(exist_ok=True)
        for suffix in (".tags.json", ".vtt", ".csv", ".html"):
            path = result_path(out, result_name(source), suffix)
            if path.exists():
                path.rename(f"{old}{suffix}")
        as_before = json.loads(Path(f"{old}.tags.json").read_text())
        del as_before["source"]["path"]
        Path(f"{old}.tags.json").write_text(json.dumps({**as_before, "schema_version": "1.1"}))
    outcomes = tag([folder], out)
    assert {each.status for each in outcomes.values()} == {Status.DONE}
    assert not list((out / "trip").iterdir())
    tags = VideoTags.model_validate_json(json_of(out, folder / "trip" / "x.mp4").read_bytes())
    assert tags.source.path == str(folder / "trip" / "x.mp4")


@pytest.mark.parametrize("name", ["x.mp4", "x.jpg"])
def test_a_result_of_an_earlier_form_is_kept_and_named(
    tmp_path: Path, three_colours: Path, jpeg: bytes, name: str
) -> None:
    source, out = tmp_path / name, tmp_path / "out"
    source.write_bytes(three_colours.read_bytes() if name == "x.mp4" else jpeg)
    assert tag([source], out)[name].message == ""
    path = json_of(out, source)
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": "1.1"}))
    outcome = tag([source], out)[name]
    assert outcome.status is Status.DONE
    assert "the earlier form 1.1" in outcome.reason
    assert "--force" in outcome.reason


def test_a_report_that_cannot_be_written_is_told_at_once(tmp_path: Path, three_colours: Path) -> None:
    with pytest.raises(OutputError, match="report"):
        tag([three_colours], tmp_path / "out", tmp_path / "missing" / "report.jsonl")


def test_failures_name_a_file_once_and_markup_is_shown_as_it_is(tmp_path: Path, three_colours: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("broken [red].mp4", "empty.jpg"):
        (folder / name).write_bytes(b"nothing\n" * 40)
    shutil.copy(three_colours, folder / "[bold]x.mp4")
    (folder / "a.xyz").touch()
    said = io.StringIO()
    outcomes = tag([folder], tmp_path / "out", console=Console(file=said, width=400))
    for name in ("broken [red].mp4", "empty.jpg", "[bold]x.mp4"):
        line = next(line for line in said.getvalue().splitlines() if name in line)
        assert line.split(" -> ")[0].count(name) == 1
    assert "ignored" in said.getvalue()
    assert "a.xyz" in said.getvalue()
    table = io.StringIO()
    path = outcomes["[bold]x.mp4"].files[0]
    Console(file=table, width=200).print(tags_table(VideoTags.model_validate_json(path.read_bytes())))
    assert "[bold]x.mp4: 3.0 s" in table.getvalue()


def test_pages_play_the_source_from_a_time(tmp_path: Path, three_colours: Path) -> None:
    (outcome,) = tag([three_colours], tmp_path / "out").values()
    page = next(file for file in outcome.files if file.suffix == ".html").read_text()
    assert "colours.mp4#t=1.000" in page


def hue_distance(a: str, b: str) -> float:
    hues = [colorsys.rgb_to_hls(*(int(each[i : i + 2], 16) / 255 for i in (1, 3, 5)))[0] for each in (a, b)]
    return min(abs(hues[0] - hues[1]), 1 - abs(hues[0] - hues[1]))


def test_labels_that_follow_each_other_differ_in_colour() -> None:
    labels = [f"label {i}" for i in range(60)]
    colour = colours_of(labels)
    near = [hue_distance(colour(a), colour(b)) for a, b in pairwise(labels)]
    assert min(near) > 0.3
    assert min(hue_distance(colour(a), colour(b)) for a, b in zip(labels[:-2], labels[2:], strict=True)) > 0.15
    assert len({colour(label) for label in labels}) == 60


@pytest.mark.parametrize(
    ("size", "count"), [((16000, 400), 79), ((400, 16000), 79), ((1200, 401), 0), ((1200, 400), 5)]
)
def test_tiles_cover_a_picture_and_overlap_by_half(size: tuple[int, int], count: int) -> None:
    tiles = tiles_of(*size)
    assert len(tiles) == count
    starts = [tile.left + tile.top for tile in tiles]
    ends = [tile.left + tile.top + max(tile.width, tile.height) for tile in tiles]
    if tiles:
        assert (starts[0], ends[-1]) == (0, max(size))
        assert all(nexts <= end - 199 for end, nexts in zip(ends[:-1], starts[1:], strict=True))
    assert len(tiles_of(1_000_000, 40)) <= MAX_TILES
    assert tiles_of(60_000_000, 1) == ()


def test_what_a_tile_cuts_is_shown_once_and_whole() -> None:
    def seen(box: tuple[float, float, float, float], score: float, label: str = "person") -> Detection:
        return Detection(label=label, score=score, box=box)

    tiles = (Tile(0, 0, 400, 400), Tile(200, 0, 400, 400), Tile(400, 0, 400, 400))
    found = [
        (tiles[0], [seen((350, 0, 400, 300), 0.9), seen((10, 10, 60, 200), 0.8)]),  # the first is cut at 400
        (tiles[1], [seen((150, 0, 250, 300), 0.7)]),  # whole
        (tiles[2], [seen((0, 0, 50, 300), 0.95)]),  # the other part of it
    ]
    objects = merged(found, [], 800, 400)
    assert [(each.box, each.score) for each in objects] == [((10, 10, 60, 200), 0.8), ((350, 0, 450, 300), 0.7)]


def test_objects_in_a_very_wide_picture_are_found_in_its_tiles(tmp_path: Path) -> None:
    pixels = np.zeros((80, 3200, 3), np.uint8)
    for left in range(100, 3100, 200):
        pixels[10:70, left : left + 30] = RED
    source = tmp_path / "wide.jpg"
    source.write_bytes(encode(pixels))
    for tiles, least, most in (("auto", 15, 16), ("off", 0, 1)):
        tag([source], tmp_path / "out", tiles=Tiles(tiles))
        tags = ImageTags.model_validate_json(json_of(tmp_path / "out", source).read_bytes())
        cars = [each for each in tags.detections if each.label == "car"]
        assert least <= len(cars) <= most, tiles
        assert tags.provenance.options.get("tiles") == (79 if tiles == "auto" else None)


def test_a_picture_that_kills_its_decoder_fails_alone(jpeg: bytes) -> None:
    async def run() -> tuple[str, int]:
        with Darkroom() as room:
            first = await room.develop(Job(jpeg, 32))
            assert first.thumbnail.width == 32
            process = room._process
            assert process is not None
            process.kill()
            process.join()
            with pytest.raises(Exception, match="broke off") as caught:
                await room.develop(Job(jpeg, 32))
            again = await room.develop(Job(jpeg, 32))
            return type(caught.value).__name__, again.thumbnail.width

    assert asyncio.run(run()) == ("ImageError", 32)


@pytest.mark.parametrize("jobs", [1, 3])
def test_so_many_videos_are_tagged_at_one_time(tmp_path: Path, three_colours: Path, jobs: int) -> None:
    class Counted(Silence):
        running = most = 0

        def started(self, path: Path) -> None:
            self.running += 1
            self.most = max(self.most, self.running)

        def finished(self, outcome: Outcome) -> None:
            self.running -= 1

    paths = [Path(shutil.copy(three_colours, tmp_path / f"{number}.mp4")) for number in range(4)]
    counted = Counted()
    outcomes = asyncio.run(tag_paths(paths, tmp_path / "out", FakeTagger(), TagOptions(), counted, jobs=jobs))
    assert [outcome.status for outcome in outcomes] == [Status.TAGGED] * 4
    assert counted.most == jobs
    assert len({json_of(tmp_path / "out", path).read_text().partition('"tags"')[2] for path in paths}) == 1
