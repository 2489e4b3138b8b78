"""The files of a whole job, read back by other programs' means."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reeltag.tags import VideoTags
from vod.stores.file_store import FileStore
from vod.stores.job_files import VideoResult, write_job_files
from vod.stores.job_table import SCHEMA
from vod.stores.results import json_text

TAG = {"label": "car", "model": "nanodet_g", "confidence": 0.9}
SHARE = {"label": "road", "model": "net", "kind": "area_share", "category": "7", "confidence": 0.4}


def document(name: str, **more: Any) -> VideoTags:
    intervals = [
        {"start_seconds": 0.0, "end_seconds": 1.5, "confidence": 0.9},
        {"start_seconds": 3.0, "end_seconds": 4.0, "confidence": 0.7},
    ]
    shots = [
        {"start_seconds": 0.0, "end_seconds": 2.0, "tags": [{**TAG, "intervals": intervals[:1]}]},
        {"start_seconds": 2.0, "end_seconds": 5.0, "tags": [{**TAG, "confidence": 0.7, "intervals": intervals[1:]}]},
    ]
    shots[0]["objects"] = [{"label": "car", "model": "nanodet_g", "count": 3}]
    source = {"name": name, "sha256": "5" * 64, "duration_seconds": 5.0, "width": 4, "height": 4, "frame_rate": 25.0}
    return VideoTags.model_validate(
        {
            "source": source,
            "shots": shots,
            "tags": [{**TAG, "intervals": intervals}, {**SHARE, "intervals": intervals[:1]}],
            "coverage": {"frames_decoded": 125, "frames_sampled": 10},
            "provenance": {"reeltag_version": "1", "models": []},
            **more,
        }
    )


def result(number: int, tags: VideoTags) -> VideoResult:
    content = io.BytesIO(json_text(tags).encode())
    return VideoResult(number, f"films/{tags.source.name}", f"/films/{tags.source.name}", content)


def content_of(video: VideoResult) -> bytes:
    video.content.seek(0)
    return video.content.read()


def test_a_line_a_video_is_its_tags_json(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    videos = [result(0, document("é\u2028.mp4")), result(3, document("b.mp4"))]
    assert write_job_files(store, "job", videos) == 2
    lines = store.read("job/job.jsonl").splitlines()
    assert [json.loads(line) for line in lines] == [json.loads(content_of(video)) for video in videos]
    assert [VideoTags.model_validate_json(line).source.name for line in lines] == ["é\u2028.mp4", "b.mp4"]


def test_the_table_has_a_row_for_each_label_and_stretch_of_time(tmp_path: Path) -> None:
    frames = [
        {
            "pts_seconds": 0.5,
            "detections": [{"label": "car", "score": 0.8, "box": [1, 2, 3, 4]}],
            "tags": [{"label": "street", "score": 0.6, "model": "net"}],
        }
    ]
    store = FileStore(tmp_path)
    write_job_files(store, "job", [result(0, document("a.mp4", frames=frames)), result(1, document("b.mp4"))])
    table = pq.read_table(io.BytesIO(store.read("job/job.parquet")))
    assert table.schema.equals(SCHEMA)
    rows = [{name: value for name, value in row.items() if value is not None} for row in table.to_pylist()]
    assert {(row["job"], row["number"], row["video"], row["source"], row["duration_seconds"]) for row in rows} == {
        ("job", 0, "films/a.mp4", "/films/a.mp4", 5.0),
        ("job", 1, "films/b.mp4", "/films/b.mp4", 5.0),
    }
    same = {"job", "number", "video", "source", "duration_seconds", "sha256"}
    found = [{name: value for name, value in row.items() if name not in same} for row in rows if row["number"] == 0]
    car = {"label": "car", "model": "nanodet_g"}
    road = {name: value for name, value in SHARE.items() if name != "confidence"}
    at_once = {"start_seconds": 0.5, "end_seconds": 0.5}
    assert found == [
        {"level": "video", **car, "start_seconds": 0.0, "end_seconds": 5.0, "confidence": 0.9},
        {"level": "interval", **car, "start_seconds": 0.0, "end_seconds": 1.5, "confidence": 0.9},
        {"level": "interval", **car, "start_seconds": 3.0, "end_seconds": 4.0, "confidence": 0.7},
        {"level": "video", **road, "start_seconds": 0.0, "end_seconds": 5.0, "confidence": 0.4},
        {"level": "interval", **road, "start_seconds": 0.0, "end_seconds": 1.5, "confidence": 0.9},
        {"level": "shot", **car, "start_seconds": 0.0, "end_seconds": 2.0, "confidence": 0.9, "shot": 0, "count": 3},
        {"level": "shot", **car, "start_seconds": 2.0, "end_seconds": 5.0, "confidence": 0.7, "shot": 1},
        {
            "level": "frame",
            "label": "street",
            "model": "net",
            **at_once,
            "confidence": 0.6,
        },
        {"level": "object", "label": "car", **at_once, "confidence": 0.8}
        | {"x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0},
    ]


def test_a_job_of_nothing_has_empty_files(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    assert write_job_files(store, "job", []) == 0
    assert store.read("job/job.jsonl") == b""
    assert pq.read_table(io.BytesIO(store.read("job/job.parquet"))).num_rows == 0


def test_many_rows_are_written_in_groups_and_nothing_is_there_before_all_is(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    intervals = [{"start_seconds": i / 10, "end_seconds": i / 10, "confidence": 0.5} for i in range(30_000)]
    tags = document("a.mp4", tags=[{**TAG, "intervals": intervals}], shots=[])

    def videos(*, breaks: bool) -> Iterator[VideoResult]:
        yield from (result(number, tags) for number in range(2))
        assert not store.exists("job/job.jsonl")
        if breaks:
            raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        write_job_files(store, "job", videos(breaks=True))
    assert list(store.keys("job")) == []
    write_job_files(store, "job", videos(breaks=False))
    file = pq.ParquetFile(io.BytesIO(store.read("job/job.parquet")))
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (60_002, 2)
