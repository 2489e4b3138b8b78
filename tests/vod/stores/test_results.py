from __future__ import annotations

import csv
import re
from pathlib import Path, PurePath

import pytest

from reeltag.errors import OutputError
from reeltag.tags import Interval, ObjectCount, Tag, TaggedShot
from vod.stores.files import check_folder, write_text
from vod.stores.results import result_path
from vod.stores.video_files import csv_pieces, vtt_pieces


def tag(label: str, *spans: tuple[float, float]) -> Tag:
    intervals = tuple(Interval(start_seconds=a, end_seconds=b, confidence=0.75) for a, b in spans)
    return Tag(label=label, model="net", confidence=0.75, intervals=intervals)


SHOTS = (
    TaggedShot(start_seconds=0, end_seconds=3661.5),
    TaggedShot(start_seconds=3661.5, end_seconds=4000, objects=(ObjectCount(label="car", model="net", count=3),)),
)
TAGS = (tag("car", (3661.5, 3662), (0.0001, 0.0002)), tag("<b> & --> c", (1, 2)))


def test_cues_are_in_order_and_never_empty() -> None:
    text = "".join(vtt_pieces(TAGS))
    assert text.startswith("WEBVTT\n\n")
    cues = re.findall(r"(\d\d):(\d\d):(\d\d\.\d{3}) --> (\d\d):(\d\d):(\d\d\.\d{3})\n(.+)\n", text)
    times = [
        (int(a) * 3600 + int(b) * 60 + float(c), int(d) * 3600 + int(e) * 60 + float(f)) for a, b, c, d, e, f, _ in cues
    ]
    assert times == sorted(times)
    assert all(start < end for start, end in times)
    assert [cue[-1] for cue in cues] == ["car (0.75)", "&lt;b&gt; &amp; --&gt; c (0.75)", "car (0.75)"]


def test_csv_has_a_line_an_interval() -> None:
    rows = list(csv.DictReader("".join(csv_pieces(TAGS, SHOTS)).splitlines()))
    assert len(rows) == 3
    assert rows[0] == {
        "label": "car",
        "model": "net",
        "start_seconds": "3661.500",
        "end_seconds": "3662.000",
        "confidence": "0.75",
        "kind": "",
        "shot": "2",
        "count": "3",
        "category": "",
    }
    assert [(row["shot"], row["count"]) for row in rows] == [("2", "3"), ("1", ""), ("1", "")]


def test_shares_of_the_picture_are_called_so() -> None:
    road = tag("road", (1, 2)).model_copy(update={"kind": "area_share"})
    assert "road (75% of the picture)" in "".join(vtt_pieces([road]))
    assert next(csv.DictReader("".join(csv_pieces([road], SHOTS)).splitlines()))["kind"] == "area_share"


def test_a_file_is_replaced_at_once_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_text(path, "old")
    write_text(path, "new \udcff")
    assert path.read_text() == "new \\udcff"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another --out"):
        check_folder(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / "file" / "a.json", "x")


def test_result_names_keep_dots() -> None:
    assert result_path(Path("out"), PurePath("trip/a.b"), ".vtt") == Path("out/trip/a.b.vtt")
