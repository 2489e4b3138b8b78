"""Area shares as tags of videos and images."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from reeltag.frames import Fit, View
from tests.vod.fake import FakeTagger
from tests.vod.media import GREEN, RED, picture
from tests.vod.test_tagging import result, spans, tag
from vod.outcome import Status
from vod.stores.thumbnails import encode

WITH_BORDER = View(Fit.LETTERBOX, 64, 128)
WITHOUT = View(Fit.LETTERBOX, 96, 160)


@pytest.mark.parametrize("segmenter", [WITH_BORDER, WITHOUT])
def test_shares_become_tags_and_a_border_does_not_count(three_colours: Path, tmp_path: Path, segmenter: View) -> None:
    client = FakeTagger(segmenter=segmenter)
    tag([three_colours], tmp_path, client)
    tags = result(tmp_path, three_colours)
    areas = {t.label: t for t in tags.tags if t.kind == "area_share"}
    assert set(areas) == {"red paint", "green paint", "blue paint"}
    assert spans(tags, "red paint") == [(0, 1)]
    assert spans(tags, "blue paint") == [(2, 3)]
    assert all(t.confidence > 0.97 and t.model == "fake_segment" for t in areas.values())
    assert [m.task for m in tags.provenance.models] == ["detect", "classify", "segment", "shots"]
    assert tags.provenance.options["areas_high"] == 0.05
    assert client.class_maps == (tags.coverage.frames_sampled if segmenter is WITH_BORDER else 0)


def test_people_are_told_what_the_number_is(three_colours: Path, tmp_path: Path) -> None:
    (outcome,) = tag([three_colours], tmp_path, FakeTagger(segmenter=WITH_BORDER))
    texts = {file.suffix: file.read_text() for file in outcome.files}
    assert "red paint (100% of the picture)" in texts[".vtt"]
    rows = list(csv.DictReader(texts[".csv"].splitlines()))
    assert {row["kind"] for row in rows if row["model"] == "fake_segment"} == {"area_share"}
    assert {row["kind"] for row in rows if row["model"] != "fake_segment"} == {""}
    assert "Areas, share of the picture (fake_segment)" in texts[".html"]
    assert "red paint <small>100% area</small>" in texts[".html"]
    assert '"kind"' in texts[".json"]


def test_without_a_segmenter_nothing_is_said_of_areas(three_colours: Path, tmp_path: Path) -> None:
    (outcome,) = tag([three_colours], tmp_path)
    texts = {file.suffix: file.read_text() for file in outcome.files}
    assert '"kind": "area_share"' not in texts[".json"]
    assert "areas_high" not in texts[".json"]
    assert "of an area" not in texts[".html"]


def test_a_segmenter_makes_it_tag_again(three_colours: Path, tmp_path: Path) -> None:
    assert tag([three_colours], tmp_path)[0].status is Status.TAGGED
    assert tag([three_colours], tmp_path, FakeTagger(segmenter=WITHOUT))[0].status is Status.TAGGED
    assert tag([three_colours], tmp_path, FakeTagger(segmenter=WITHOUT))[0].status is Status.DONE


def test_images_are_tagged_with_large_areas(tmp_path: Path) -> None:
    photo = tmp_path / "in" / "photo.jpg"
    photo.parent.mkdir()
    pixels = picture(GREEN, 64, 64, ramp=0)
    pixels[:2] = RED  # 3 % of it
    photo.write_bytes(encode(pixels))
    tag([photo], tmp_path / "out", FakeTagger(segmenter=View(Fit.LETTERBOX, 64, 64)))
    (path,) = (tmp_path / "out").rglob("photo.*.tags.json")
    tags = json.loads(path.read_text())["tags"]
    (area,) = [found for found in tags if found.get("kind") == "area_share"]
    assert area["label"] == "green paint"
    assert area["score"] == pytest.approx(0.97, abs=0.01)
    rows = list(csv.DictReader((tmp_path / "out" / "images.csv").read_text().splitlines()))
    assert [row["label"] for row in rows if row["of"] == "area_share"] == ["green paint"]
    assert "green paint <small>97% area</small>" in (tmp_path / "out" / "images.html").read_text()
